// A libFuzzer target: the bytes choose options, audio and pieces, and every property of random_case.hpp must hold.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "random_case.hpp"

namespace {

// Each choice takes the fewest bytes that can express it; zeros follow the last byte.
class BytesDraw : public satn::test::Draw {
 public:
  BytesDraw(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  std::uint32_t below(std::uint32_t n) override {
    std::uint32_t value = 0;
    for (std::uint32_t rest = n - 1; rest > 0 && next_ != end_; rest >>= 8) {
      value = value << 8 | *next_++;
    }
    return value % n;
  }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  BytesDraw draw(data, size);
  try {
    satn::test::check_random_case(draw);
  } catch (const satn::test::Violation& violation) {
    std::fprintf(stderr, "%s\n", violation.what());
    std::abort();
  }
  return 0;
}
