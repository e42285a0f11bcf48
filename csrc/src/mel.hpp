// Triangular Mel filters, stored without their zeros.
#pragma once

#include <cstddef>
#include <vector>

#include "options.hpp"

namespace satn::frontend {

// One band's weights over consecutive FFT bins. `count` is 0 for a band too narrow to hold a bin.
struct MelBand {
  std::size_t first_bin = 0;
  std::size_t count = 0;
  std::size_t offset = 0;  // of its first weight in MelFilterbank::weights
};

struct MelFilterbank {
  std::vector<MelBand> bands;
  std::vector<double> weights;

  std::size_t empty_band_count() const;
  double largest_gain() const;  // the largest sum of one band's weights
};

// Filters for a power spectrum of fft_size / 2 + 1 bins; power_norm is part of the weights. `options` are resolved.
MelFilterbank make_mel_filterbank(const Options& options);

}  // namespace satn::frontend
