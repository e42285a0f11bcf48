// Triangular Mel filters, stored without their zeros.
#pragma once

#include <cstddef>

#include "kernel.hpp"
#include "options.hpp"
#include "span.hpp"

namespace satn::frontend {

// Filters for a power spectrum of fft_size / 2 + 1 bins; power_norm is part of the weights. `options` are resolved.

// Weights of all bands together.
std::size_t count_mel_weights(const Options& options);

// Writes every band, and its weights times `factor`; returns the largest sum of one band's weights, without the factor.
template <class Real>
double make_mel_filterbank(const Options& options, double factor, Span<MelBand> bands, Span<Real> weights);

}  // namespace satn::frontend
