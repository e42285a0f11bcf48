/* audio: 16-bit samples of one channel, from WAV files. */
#ifndef AUDIO_H
#define AUDIO_H

#include <cstdint>
#include <string>
#include <vector>

/* The samples of a RIFF WAV of 16-bit PCM, one channel, `rate` Hz. Throws Error. */
std::vector<int16_t> read_wav(const std::string& path, int rate);

/* 16-bit samples from little-endian bytes; an odd last byte is left out. */
std::vector<int16_t> samples_of(const std::string& bytes);

#endif
