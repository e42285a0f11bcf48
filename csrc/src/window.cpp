#include "window.hpp"

#include <cmath>

namespace satn::frontend {
namespace {

constexpr double kTwoPi = 6.283185307179586476925286766559;

// a - (1 - a) cos(2 pi n / period)
double raised_cosine(double a, double n, double period) { return a - (1.0 - a) * std::cos(kTwoPi * n / period); }

}  // namespace

std::vector<double> make_window(Window window, std::size_t length) {
  std::vector<double> coefficients(length);
  const double periodic = static_cast<double>(length);
  const double symmetric = periodic - 1.0;
  for (std::size_t i = 0; i < length; ++i) {
    const double n = static_cast<double>(i);
    double value = 1.0;
    switch (window) {
      case Window::povey:
        value = std::pow(raised_cosine(0.5, n, symmetric), 0.85);
        break;
      case Window::hamming:
        value = raised_cosine(0.54, n, symmetric);
        break;
      case Window::hamming_periodic:
        value = raised_cosine(0.54, n, periodic);
        break;
      case Window::hann:
        value = raised_cosine(0.5, n, symmetric);
        break;
      case Window::hann_periodic:
        value = raised_cosine(0.5, n, periodic);
        break;
      case Window::rectangular:
        break;
    }
    coefficients[i] = value;
  }
  return coefficients;
}

}  // namespace satn::frontend
