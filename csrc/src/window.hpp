// Analysis windows.
#pragma once

#include <vector>

#include "options.hpp"

namespace satn::frontend {

// The coefficients of a window of `length` samples.
std::vector<double> make_window(Window window, std::size_t length);

}  // namespace satn::frontend
