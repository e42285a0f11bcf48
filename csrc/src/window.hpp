// Analysis windows.
#pragma once

#include <cstddef>

#include "options.hpp"

namespace satn::frontend {

// Coefficient `index` of a window of `length` samples.
double window_coefficient(Window window, std::size_t length, std::size_t index);

}  // namespace satn::frontend
