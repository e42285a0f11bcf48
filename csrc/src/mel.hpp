// Triangular Mel filters, stored without their zeros.
#pragma once

#include <cstddef>
#include <vector>

#include "kernel.hpp"
#include "options.hpp"

namespace satn::frontend {

struct MelFilterbank {
  std::vector<MelBand> bands;
  std::vector<double> weights;

  std::size_t empty_band_count() const;
  double largest_gain() const;  // the largest sum of one band's weights
};

// Filters for a power spectrum of fft_size / 2 + 1 bins; power_norm is part of the weights. `options` are resolved.
MelFilterbank make_mel_filterbank(const Options& options);

}  // namespace satn::frontend
