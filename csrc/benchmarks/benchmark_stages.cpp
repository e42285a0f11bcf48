// Where the time of a frame goes: each step of the kernel, the whole, and the whole through the C API, for every
// instruction set that this processor has. Prints Markdown, in nanoseconds per frame.
//
//   benchmark_stages [rounds]
//
// All are measured in turn, round after round, so that a drifting machine treats them alike; medians are shown, and a
// ratio is the median of the rounds' ratios.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "plan.hpp"
#include "satn_frontend.h"
#include "stages.hpp"

namespace {

using namespace satn::frontend;
using benchmark::FrameStages;
using benchmark::KernelStages;

constexpr std::int32_t kRate = 16000;
constexpr std::int32_t kBands = 40;
constexpr std::size_t kSecond = kRate;
constexpr std::size_t kLongest = 60 * kSecond;
constexpr double kSecondsPerTurn = 1e-3;

[[noreturn]] void stop(const char* what) {
  std::fprintf(stderr, "benchmark_stages: %s\n", what);
  std::exit(1);
}

KernelStages stages_for(Isa isa) {
#if defined(SATN_BENCHMARK_AVX2)
  if (isa == Isa::avx2) {
    return benchmark::avx2_stages();
  }
#endif
#if defined(SATN_BENCHMARK_AVX512)
  if (isa == Isa::avx512) {
    return benchmark::avx512_stages();
  }
#endif
  if (isa == Isa::baseline) {
    return benchmark::baseline_stages();
  }
  stop("an instruction set whose steps were not built");
}

std::vector<float> noise(float amplitude, std::size_t count) {
  std::mt19937 generator(0);
  std::uniform_real_distribution<float> sample(-amplitude, amplitude);
  std::vector<float> samples(count);
  std::generate(samples.begin(), samples.end(), [&] { return sample(generator); });
  return samples;
}

// 60 s within +-1, the same for all: copies would push each other out of the cache.
std::shared_ptr<const std::vector<float>> utterance() {
  static const auto samples = std::make_shared<const std::vector<float>>(noise(0.3F, kLongest));
  return samples;
}

// ---- Timing ----

// One thing to time, and its nanoseconds per frame, round by round.
struct Turn {
  Turn(std::function<void()> what, std::size_t frames_of_it) : run(std::move(what)), frames(frames_of_it) {}

  std::function<void()> run;
  std::size_t frames;
  std::size_t repeats = 1;
  std::vector<double> times;

  double seconds() const {
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < repeats; ++i) {
      run();
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  void calibrate() {
    while (seconds() < kSecondsPerTurn / 2) {
      repeats *= 2;
    }
  }
  void measure() { times.push_back(seconds() * 1e9 / static_cast<double>(repeats * frames)); }
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double median_ratio(const Turn& above, const Turn& below) {
  std::vector<double> ratios;
  ratios.reserve(above.times.size());
  for (std::size_t round = 0; round < above.times.size(); ++round) {
    ratios.push_back(above.times[round] / below.times[round]);
  }
  return median(std::move(ratios));
}

// ---- What is timed ----

struct AlignedFree {
  void operator()(void* block) const { std::free(block); }
};
using Scratch = std::unique_ptr<void, AlignedFree>;

Scratch make_scratch(std::size_t bytes) {
  // All zeros: the FFT works in place, again and again on its own result, and of zeros that stays what it is.
  bytes = (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
  Scratch scratch(std::aligned_alloc(kMemoryAlignment, bytes));
  if (scratch == nullptr) {
    stop("out of memory");
  }
  std::fill_n(static_cast<unsigned char*>(scratch.get()), bytes, static_cast<unsigned char>(0));
  return scratch;
}

struct Destroy {
  void operator()(satn_frontend_plan* plan) const { satn_frontend_plan_destroy(plan); }
  void operator()(satn_frontend_stream* stream) const { satn_frontend_stream_destroy(stream); }
};
using PlanHandle = std::unique_ptr<satn_frontend_plan, Destroy>;
using StreamHandle = std::unique_ptr<satn_frontend_stream, Destroy>;

PlanHandle make_plan(Isa isa, bool deltas) {
  setenv("SATN_FAST_ISA", isa_name(isa), 1);
  satn_frontend_options options = {};
  options.size = sizeof options;
  satn_frontend_plan* plan = nullptr;
  if (satn_frontend_preset(&options, SATN_FRONTEND_KALDI, kRate, kBands, nullptr, 0) != SATN_FRONTEND_OK) {
    stop("no preset");
  }
  options.deltas = deltas ? 1 : 0;
  if (satn_frontend_plan_create(&options, &plan, nullptr, 0) != SATN_FRONTEND_OK) {
    stop("no plan");
  }
  return PlanHandle(plan);
}

Turn whole_utterance(Isa isa, std::size_t count, bool deltas) {
  const std::shared_ptr<satn_frontend_plan> plan = make_plan(isa, deltas);
  const std::size_t frames = satn_frontend_frame_count(plan.get(), count);
  return {[plan, count, frames, audio = utterance(),
           rows = std::vector<float>(frames * satn_frontend_feature_count(plan.get()))]() mutable {
            const satn_frontend_audio input = {audio->data(), count, SATN_FRONTEND_FLOAT32};
            satn_frontend_features features = {rows.data(), frames, 0, SATN_FRONTEND_FLOAT32};
            if (satn_frontend_compute(plan.get(), &input, &features, nullptr, 0) != SATN_FRONTEND_OK) {
              stop("compute failed");
            }
          },
          frames};
}

// A push of 10 ms, which completes one frame.
Turn one_push(Isa isa, bool deltas) {
  const PlanHandle plan = make_plan(isa, deltas);
  satn_frontend_stream* created = nullptr;
  if (satn_frontend_stream_create(plan.get(), &created, nullptr, 0) != SATN_FRONTEND_OK) {
    stop("no stream");
  }
  const std::shared_ptr<satn_frontend_stream> stream = StreamHandle(created);
  return {[stream, audio = utterance(), position = std::size_t{0},
           row = std::vector<float>(satn_frontend_feature_count(plan.get()))]() mutable {
            const satn_frontend_audio chunk = {audio->data() + position, kRate / 100, SATN_FRONTEND_FLOAT32};
            satn_frontend_features features = {row.data(), 1, 0, SATN_FRONTEND_FLOAT32};
            if (satn_frontend_stream_push(stream.get(), &chunk, &features, nullptr, 0) != SATN_FRONTEND_OK) {
              stop("push failed");
            }
            position = (position + kRate / 100) % kLongest;
          },
          1};
}

// ---- The table ----

struct Row {
  std::string name;
  Turn turn;
  bool compared_with_fft = false;
};

// One instruction set's column: the steps, the whole kernel, and what the C API makes of it.
struct Column {
  Isa isa;
  std::size_t width;
  std::vector<Row> rows;

  const Turn& fft() const { return rows[benchmark::kFftStage].turn; }
};

// The plan whose tables the steps read.
Shared<const Plan<float>> tables_plan(Isa isa) {
  Options options;
  if (!preset_options(SATN_FRONTEND_KALDI, kRate, kBands, options).ok() || !resolve(options).ok()) {
    stop("no options");
  }
  Shared<const Plan<float>> plan;
  if (!plan.create(options, isa).ok()) {
    stop("out of memory");
  }
  return plan;
}

// The steps and the whole of a kernel.
Column make_column(Isa isa, const FrameStages& frames) {
  const Shared<const Plan<float>> plan = tables_plan(isa);
  const auto timed = [&](FrameKernel<float> kernel) {
    const std::shared_ptr<void> scratch = make_scratch(plan->kernels().scratch_bytes(plan->tables()));
    return Turn{[plan, kernel, scratch, width = frames.width, samples = noise(10000.0F, kSecond),
                 rows = std::vector<float>(frames.width * plan->n_mels())]() mutable {
                  kernel(plan->tables(), samples.data(), width, rows.data(), plan->n_mels(), scratch.get());
                },
                frames.width};
  };
  Column column = {isa, frames.width, {}};
  for (const benchmark::Stage& stage : frames.stages) {
    column.rows.push_back({stage.name, timed(stage.run)});
  }
  column.rows.push_back({"whole kernel", timed(frames.whole)});
  return column;
}

Column group_column(Isa isa, const FrameStages& frames) {
  Column column = make_column(isa, frames);
  column.rows.push_back({"log-Mel, 3 s", whole_utterance(isa, 3 * kSecond, false)});
  column.rows.push_back({"log-Mel, 60 s", whole_utterance(isa, kLongest, false)});
  column.rows.push_back({"log-Mel and deltas, 3 s", whole_utterance(isa, 3 * kSecond, true), true});
  column.rows.push_back({"log-Mel and deltas, 60 s", whole_utterance(isa, kLongest, true), true});
  return column;
}

Column single_column(Isa isa, const FrameStages& frames) {
  Column column = make_column(isa, frames);
  column.rows.push_back({"log-Mel, 10 ms pushes", one_push(isa, false)});
  column.rows.push_back({"log-Mel and deltas, 10 ms pushes", one_push(isa, true), true});
  return column;
}

// One line: its name, and a cell for each column.
template <class Cell>
void print_row(const std::string& name, const std::vector<Column>& columns, Cell cell) {
  std::printf("| %s |", name.c_str());
  for (const Column& column : columns) {
    std::printf(" %s |", std::string(cell(column)).c_str());
  }
  std::printf("\n");
}

std::string number(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

void print_table(const char* title, const std::vector<Column>& columns) {
  std::printf("%s\n\n", title);
  print_row("", columns, [](const Column& column) { return isa_name(column.isa); });
  print_row("---", columns, [](const Column&) { return "---:"; });
  print_row("frames side by side", columns, [](const Column& column) { return std::to_string(column.width); });
  for (std::size_t i = 0; i < columns.front().rows.size(); ++i) {
    print_row(columns.front().rows[i].name, columns,
              [i](const Column& column) { return number("%.1f", median(column.rows[i].turn.times)); });
  }
  for (std::size_t i = 0; i < columns.front().rows.size(); ++i) {
    if (columns.front().rows[i].compared_with_fft) {
      print_row(columns.front().rows[i].name + " / FFT, power", columns,
                [i](const Column& column) { return number("%.2f", median_ratio(column.rows[i].turn, column.fft())); });
    }
  }
}

void measure(const std::vector<std::vector<Column>*>& tables, long rounds) {
  std::vector<Turn*> turns;
  for (std::vector<Column>* table : tables) {
    for (Column& column : *table) {
      for (Row& row : column.rows) {
        turns.push_back(&row.turn);
      }
    }
  }
  for (Turn* turn : turns) {
    turn->calibrate();
  }
  for (long round = 0; round < rounds; ++round) {
    for (Turn* turn : turns) {
      turn->measure();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 61;
  if (rounds < 1 || rounds > 1000000) {
    stop("the number of rounds must be 1 to 1000000");
  }
  std::vector<Column> groups;
  std::vector<Column> singles;
  for (const Isa isa : kAllIsas) {
    if (isa_is_supported(isa)) {
      const KernelStages stages = stages_for(isa);
      groups.push_back(group_column(isa, stages.group));
      singles.push_back(single_column(isa, stages.single));
    }
  }
  measure({&groups, &singles}, rounds);
  print_table("Groups of frames, ns per frame", groups);
  print_table("\nSingle frames, ns per frame", singles);
  return 0;
}
