#include "window.hpp"

#include <cmath>

namespace satn::frontend {
namespace {

constexpr double kTwoPi = 6.283185307179586476925286766559;

// a - (1 - a) cos(2 pi n / period)
double raised_cosine(double a, double n, double period) { return a - (1.0 - a) * std::cos(kTwoPi * n / period); }

}  // namespace

double window_coefficient(Window window, std::size_t length, std::size_t index) {
  const auto n = static_cast<double>(index);
  const auto periodic = static_cast<double>(length);
  const double symmetric = periodic - 1.0;
  switch (window) {
    case Window::povey:
      return std::pow(raised_cosine(0.5, n, symmetric), 0.85);
    case Window::hamming:
      return raised_cosine(0.54, n, symmetric);
    case Window::hamming_periodic:
      return raised_cosine(0.54, n, periodic);
    case Window::hann:
      return raised_cosine(0.5, n, symmetric);
    case Window::hann_periodic:
      return raised_cosine(0.5, n, periodic);
    case Window::rectangular:
      break;
  }
  return 1.0;
}

}  // namespace satn::frontend
