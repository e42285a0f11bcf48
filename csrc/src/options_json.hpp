// Options as a JSON object, as Python's LogMel.describe() and the front_end of a manifest.json have it.
//
// Nothing here allocates, recurses or depends on the locale.
#pragma once

#include <cstddef>
#include <string_view>

#include "options.hpp"
#include "span.hpp"
#include "status.hpp"

namespace satn::frontend {

// The preset that the object names with every other entry applied to it, as checked by `resolve` but not resolved; or
// a failure that leaves `options` as they were.
Status options_from_json(std::string_view json, Options& options);

// Writes the object to `json`, which has room for SATN_FRONTEND_JSON_SIZE bytes; its length.
std::size_t options_to_json(const Options& options, Span<char> json);

}  // namespace satn::frontend
