// What satn_frontend.h promises of threads: they may share a plan, streams outlive it, and plans are made at the same
// time; all features equal those of one thread, bit for bit. Meant for ThreadSanitizer as well.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "random_case.hpp"

namespace {

using satn::test::Audio;
using satn::test::PlanHandle;
using satn::test::require;
using satn::test::Rows;
using satn::test::StreamHandle;

constexpr std::uint32_t kThreads = 4;
constexpr int kRounds = 20;

// Runs `work(thread)` on several threads that set out together, and passes on what one of them throws.
void on_threads(const std::function<void(std::uint32_t)>& work) {
  std::atomic<std::uint32_t> waiting{kThreads};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto run = [&](std::uint32_t thread) {
    --waiting;
    while (waiting > 0) {
      std::this_thread::yield();
    }
    try {
      work(thread);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back(run, thread);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (failure) {
    std::rethrow_exception(failure);
  }
}

struct Case {
  std::int32_t preset;
  std::int32_t precision;
};

constexpr Case kCases[] = {
    {SATN_FRONTEND_KALDI, SATN_FRONTEND_FLOAT32},
    {SATN_FRONTEND_PSF, SATN_FRONTEND_FLOAT64},
    {SATN_FRONTEND_TORCHAUDIO, SATN_FRONTEND_FLOAT32},
};

PlanHandle make_plan(const Case& chosen) {
  satn_frontend_options options = {};
  options.size = sizeof options;
  require(satn_frontend_preset(&options, chosen.preset, 16000, 40, nullptr, 0) == SATN_FRONTEND_OK, "no preset");
  options.precision = chosen.precision;
  satn_frontend_plan* plan = nullptr;
  require(satn_frontend_plan_create(&options, &plan, nullptr, 0) == SATN_FRONTEND_OK, "no plan");
  return PlanHandle(plan);
}

StreamHandle make_stream(const satn_frontend_plan* plan) {
  satn_frontend_stream* stream = nullptr;
  require(satn_frontend_stream_create(plan, &stream, nullptr, 0) == SATN_FRONTEND_OK, "no stream");
  return StreamHandle(stream);
}

// Each thread's audio has a length and numbers of its own.
Audio make_audio(std::uint32_t thread) {
  Audio audio;
  audio.samples.resize(5000 + 777 * thread);
  std::mt19937 generator(thread);
  for (double& sample : audio.samples) {
    sample = static_cast<double>(generator()) / 4294967296.0 - 0.5;
  }
  return audio;
}

Rows rows_for(const satn_frontend_plan* plan, const Audio& audio) {
  return {plan, satn_frontend_frame_count(plan, audio.samples.size())};
}

Rows whole(const satn_frontend_plan* plan, const Audio& audio) {
  Rows rows = rows_for(plan, audio);
  require(satn::test::compute(plan, audio, rows) == SATN_FRONTEND_OK, "compute refused good audio");
  return rows;
}

// What a thread feeds, and what must come of it: computed beforehand, on one thread.
struct Task {
  explicit Task(const satn_frontend_plan* plan, std::uint32_t thread)
      : audio(make_audio(thread)), expected(whole(plan, audio)), written(rows_for(plan, audio)) {}

  void stream_through(satn_frontend_stream* stream) {
    satn::test::Feeding feeding(stream, written);
    for (std::size_t start = 0; start < audio.samples.size(); start += kPiece) {
      const std::size_t count = std::min(kPiece, audio.samples.size() - start);
      require(feeding.push(audio, start, count) == SATN_FRONTEND_OK, "a stream refused good audio");
    }
    require(feeding.finish() == SATN_FRONTEND_OK, "a stream refused to finish");
    require(written == expected, "a stream's rows differ from those of one thread");
  }

  static constexpr std::size_t kPiece = 320;
  Audio audio;
  Rows expected;
  Rows written;
};

std::vector<Task> make_tasks(const satn_frontend_plan* plan) {
  std::vector<Task> tasks;
  tasks.reserve(kThreads);
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    tasks.emplace_back(plan, thread);
  }
  return tasks;
}

void check_threads_share_a_plan(const Case& chosen) {
  const PlanHandle plan = make_plan(chosen);
  std::vector<Task> tasks = make_tasks(plan.get());
  on_threads([&](std::uint32_t thread) {
    Task& task = tasks[thread];
    const StreamHandle stream = make_stream(plan.get());
    for (int round = 0; round < kRounds; ++round) {
      require(whole(plan.get(), task.audio) == task.expected, "compute's rows differ from those of one thread");
      task.stream_through(stream.get());
      satn_frontend_stream_reset(stream.get());
    }
  });
}

// Each refusal's sentence goes to the caller that it concerns.
void check_refusals_stay_apart(const Case& chosen) {
  const PlanHandle plan = make_plan(chosen);
  on_threads([&](std::uint32_t thread) {
    std::vector<float> samples(2000, 0.0F);
    samples[thread] = std::nanf("");
    const satn_frontend_audio audio = {samples.data(), samples.size(), SATN_FRONTEND_FLOAT32};
    for (int round = 0; round < kRounds; ++round) {
      Rows rows(plan.get(), satn_frontend_frame_count(plan.get(), samples.size()));
      satn_frontend_features features = rows.from(0);
      char message[SATN_FRONTEND_MESSAGE_SIZE] = "";
      require(satn_frontend_compute(plan.get(), &audio, &features, message, sizeof message) ==
                  SATN_FRONTEND_ERROR_NOT_FINITE,
              "compute took a NaN");
      require(std::string(message).find("sample " + std::to_string(thread) + " ") != std::string::npos,
              std::string("another sample was found: ") + message);
    }
  });
}

void check_streams_outlive_their_plan(const Case& chosen) {
  PlanHandle plan = make_plan(chosen);
  std::vector<Task> tasks = make_tasks(plan.get());
  std::vector<StreamHandle> streams;
  streams.reserve(kThreads);
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    streams.push_back(make_stream(plan.get()));
  }
  on_threads([&](std::uint32_t thread) {
    if (thread == 0) {
      plan.reset();  // while the others push
    }
    tasks[thread].stream_through(streams[thread].get());
    streams[thread].reset();  // the last one frees what they share
  });
}

void check_plans_are_made_at_once(const Case& chosen) {
  const std::vector<Task> tasks = make_tasks(make_plan(chosen).get());
  on_threads([&](std::uint32_t thread) {
    for (int round = 0; round < kRounds; ++round) {
      const PlanHandle plan = make_plan(chosen);
      require(whole(plan.get(), tasks[thread].audio) == tasks[thread].expected,
              "a plan made beside others gives other rows");
    }
  });
}

}  // namespace

int main() {
  try {
    for (const Case& chosen : kCases) {
      check_threads_share_a_plan(chosen);
      check_refusals_stay_apart(chosen);
      check_streams_outlive_their_plan(chosen);
      check_plans_are_made_at_once(chosen);
    }
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
  return 0;
}
