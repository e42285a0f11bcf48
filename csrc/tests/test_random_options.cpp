// Random options, audio and pieces: refused with a message, or the stream's rows are those of the whole utterance.
//
//   test_random_options [seed [rounds]]
//
// Round r draws from seed + r: after a failure, `test_random_options SEED 1` repeats it alone.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "random_case.hpp"

namespace {

class SeededDraw : public satn::test::Draw {
 public:
  explicit SeededDraw(std::uint32_t seed) : generator_(seed) {}
  // The standard fixes this generator's numbers but not its distributions': a seed means the same case everywhere.
  std::uint32_t below(std::uint32_t n) override { return static_cast<std::uint32_t>(generator_()) % n; }

 private:
  std::mt19937 generator_;
};

std::uint32_t current_seed = 0;

void report_seed() { std::fprintf(stderr, "failed with seed %u\n", current_seed); }

}  // namespace

#if defined(__GNUC__)
// There where a sanitizer is: what it calls before it ends the program. NOLINTNEXTLINE(*-reserved-identifier,cert-dcl*)
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));
#endif

namespace {

void report_seed_at_death() {
#if defined(__GNUC__)
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(report_seed);
  }
#endif
}

}  // namespace

int main(int argc, char** argv) {
  const auto seed = static_cast<std::uint32_t>(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1);
  const auto rounds = static_cast<std::uint32_t>(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 2000);
  report_seed_at_death();
  std::uint32_t plans = 0;
  for (std::uint32_t round = 0; round < rounds; ++round) {
    current_seed = seed + round;
    SeededDraw draw(current_seed);
    try {
      plans += satn::test::check_random_case(draw) ? 1 : 0;
    } catch (const satn::test::Violation& violation) {
      std::fprintf(stderr, "%s\n", violation.what());
      report_seed();
      return 1;
    }
  }
  std::printf("%u rounds from seed %u: %u plans made, %u refused\n", rounds, seed, plans, rounds - plans);
  return plans > 0 || rounds < 20 ? 0 : 1;
}
