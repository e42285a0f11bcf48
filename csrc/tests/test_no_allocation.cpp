// A plan and a stream are one allocation each, or none in the caller's memory; a stream that was created allocates and
// frees nothing, and options in JSON never do: this program's own allocator counts.
//
// With glibc every allocation is seen, whoever makes it (malloc and its kin are replaced; operator new calls them).
// Elsewhere, and under a sanitizer that brings its own malloc, the aligned operator new and delete are counted: all
// that the library uses.
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>
#include <vector>

#include "satn_frontend.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SATN_TEST_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SATN_TEST_SANITIZED 1
#endif

namespace {

std::atomic<unsigned long> allocations{0};
std::atomic<unsigned long> frees{0};

}  // namespace

#if defined(__GLIBC__) && !defined(SATN_TEST_SANITIZED)

// The names are glibc's, and so are those of the parameters that these declarations do not repeat.
// NOLINTBEGIN(*-reserved-identifier,cert-dcl*,readability-inconsistent-declaration-parameter-name)
extern "C" {

void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* block, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* block);

void* malloc(std::size_t size) noexcept {
  ++allocations;
  return __libc_malloc(size);
}

void* calloc(std::size_t count, std::size_t size) noexcept {
  ++allocations;
  return __libc_calloc(count, size);
}

void* realloc(void* block, std::size_t size) noexcept {
  ++allocations;
  return __libc_realloc(block, size);
}

void* memalign(std::size_t alignment, std::size_t size) noexcept {
  ++allocations;
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return memalign(alignment, size); }

int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  *block = memalign(alignment, size);
  return *block == nullptr ? ENOMEM : 0;
}

void free(void* block) noexcept {
  frees += block != nullptr ? 1 : 0;
  __libc_free(block);
}

}  // extern "C"
// NOLINTEND(*-reserved-identifier,cert-dcl*,readability-inconsistent-declaration-parameter-name)

#else

void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t& /*tag*/) noexcept {
  ++allocations;
  return std::aligned_alloc(static_cast<std::size_t>(alignment), size);
}

void operator delete(void* block, std::align_val_t /*alignment*/) noexcept {
  frees += block != nullptr ? 1 : 0;
  std::free(block);
}

#endif

namespace {

int failures = 0;

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                                    \
    }                                                                                \
  } while (0)

// What happened since it was made.
class Count {
 public:
  unsigned long allocated() const { return allocations - allocations_before_; }
  unsigned long freed() const { return frees - frees_before_; }

 private:
  unsigned long allocations_before_ = allocations;
  unsigned long frees_before_ = frees;
};

constexpr std::size_t kSamples = 6000;
constexpr std::size_t kRows = 64;

struct Buffers {
  std::vector<std::int16_t> int16 = std::vector<std::int16_t>(kSamples);
  std::vector<float> float32 = std::vector<float>(kSamples);
  std::vector<double> float64 = std::vector<double>(kSamples);
  std::vector<double> rows;  // of either precision
  char message[SATN_FRONTEND_MESSAGE_SIZE] = "";

  explicit Buffers(std::size_t values_per_row) : rows(kRows * values_per_row) {
    for (std::size_t i = 0; i < kSamples; ++i) {
      float64[i] = 0.3 * std::sin(0.05 * static_cast<double>(i)) + 0.1 * std::sin(1.7 * static_cast<double>(i));
      float32[i] = static_cast<float>(float64[i]);
      int16[i] = static_cast<std::int16_t>(32767.0 * float64[i]);
    }
  }

  satn_frontend_audio audio(std::int32_t format, std::size_t start, std::size_t count) const {
    switch (format) {
      case SATN_FRONTEND_FLOAT32:
        return {float32.data() + start, count, format};
      case SATN_FRONTEND_FLOAT64:
        return {float64.data() + start, count, format};
      default:
        return {int16.data() + start, count, format};
    }
  }
};

// One utterance through the stream, in pieces; the number of rows.
std::size_t run(satn_frontend_stream* stream, Buffers& buffers, std::int32_t precision, std::int32_t format,
                std::size_t piece) {
  std::size_t rows = 0;
  satn_frontend_features features = {buffers.rows.data(), kRows, 0, precision};
  for (std::size_t start = 0; start < kSamples; start += piece) {
    const satn_frontend_audio audio = buffers.audio(format, start, piece < kSamples - start ? piece : kSamples - start);
    CHECK(satn_frontend_stream_push(stream, &audio, &features, buffers.message, sizeof buffers.message) ==
          SATN_FRONTEND_OK);
    rows += features.frames;
  }
  CHECK(satn_frontend_stream_finish(stream, &features, buffers.message, sizeof buffers.message) == SATN_FRONTEND_OK);
  return rows + features.frames;
}

// The calls that are refused report without allocating too.
void run_refused(satn_frontend_stream* stream, Buffers& buffers, std::int32_t precision) {
  char* message = buffers.message;
  const std::size_t size = sizeof buffers.message;
  satn_frontend_features features = {buffers.rows.data(), 0, 0, precision};
  const satn_frontend_audio audio = buffers.audio(SATN_FRONTEND_FLOAT32, 0, kSamples);
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, size) == SATN_FRONTEND_ERROR_CAPACITY);
  features.capacity = kRows;
  buffers.float32[100] = std::numeric_limits<float>::quiet_NaN();
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, size) == SATN_FRONTEND_ERROR_NOT_FINITE);
  buffers.float32[100] = 0.0F;
  CHECK(satn_frontend_stream_push(stream, &audio, nullptr, message, size) == SATN_FRONTEND_ERROR_ARGUMENT);
  CHECK(satn_frontend_stream_push(stream, &audio, &features, message, size) == SATN_FRONTEND_OK);
  CHECK(satn_frontend_stream_finish(stream, &features, message, size) == SATN_FRONTEND_OK);
  CHECK(satn_frontend_stream_finish(stream, &features, message, size) == SATN_FRONTEND_ERROR_FINISHED);
}

satn_frontend_options make_options(std::int32_t preset, std::int32_t precision, bool deltas) {
  char message[SATN_FRONTEND_MESSAGE_SIZE] = "";
  satn_frontend_options options = {};
  options.size = sizeof options;
  CHECK(satn_frontend_preset(&options, preset, 16000, 40, message, sizeof message) == SATN_FRONTEND_OK);
  options.precision = precision;
  options.top_db = -1.0;
  options.deltas = deltas ? 1 : 0;
  return options;
}

// Plan, stream and whole utterance: one allocation each, and everything freed.
void test_one_allocation(const satn_frontend_options& options) {
  char message[SATN_FRONTEND_MESSAGE_SIZE] = "";
  const Count all;
  satn_frontend_plan* plan = nullptr;
  CHECK(satn_frontend_plan_create(&options, &plan, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(all.allocated() == 1);
  satn_frontend_stream* stream = nullptr;
  CHECK(satn_frontend_stream_create(plan, &stream, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(all.allocated() == 2);
  CHECK(all.freed() == 0);

  Buffers buffers(satn_frontend_feature_count(plan));
  const Count computation;
  const satn_frontend_audio audio = buffers.audio(SATN_FRONTEND_INT16, 0, kSamples);
  satn_frontend_features features = {buffers.rows.data(), kRows, 0, options.precision};
  CHECK(satn_frontend_compute(plan, &audio, &features, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(computation.allocated() == 1);
  CHECK(computation.freed() == 1);

  const Count end;
  satn_frontend_plan_destroy(plan);  // which the stream keeps
  CHECK(end.freed() == 0);
  satn_frontend_stream_destroy(stream);
  CHECK(end.freed() == 2);
}

struct alignas(SATN_FRONTEND_MEMORY_ALIGNMENT) Line {
  unsigned char bytes[SATN_FRONTEND_MEMORY_ALIGNMENT];
};

void test_callers_memory(const satn_frontend_options& options) {
  char message[SATN_FRONTEND_MESSAGE_SIZE] = "";
  std::size_t plan_bytes = 0;
  const Count measuring;
  CHECK(satn_frontend_plan_bytes(&options, &plan_bytes, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(measuring.allocated() == 0);
  std::vector<Line> plan_memory(plan_bytes / sizeof(Line));  // as many bytes as that, for a sanitizer to guard
  CHECK(plan_memory.size() * sizeof(Line) == plan_bytes);

  const Count plan_creation;
  satn_frontend_plan* plan = nullptr;
  CHECK(satn_frontend_plan_create_in(&options, plan_memory.data(), plan_bytes, &plan, message, sizeof message) ==
        SATN_FRONTEND_OK);
  const std::size_t stream_bytes = satn_frontend_stream_bytes(plan);
  CHECK(plan_creation.allocated() == 0);
  std::vector<Line> stream_memory(stream_bytes / sizeof(Line));
  Buffers buffers(satn_frontend_feature_count(plan));

  const Count rest;
  satn_frontend_stream* stream = nullptr;
  CHECK(satn_frontend_stream_create_in(plan, stream_memory.data(), stream_bytes, &stream, message, sizeof message) ==
        SATN_FRONTEND_OK);
  CHECK(run(stream, buffers, options.precision, SATN_FRONTEND_INT16, 160) == satn_frontend_frame_count(plan, kSamples));
  satn_frontend_plan_destroy(plan);
  satn_frontend_stream_destroy(stream);
  CHECK(rest.allocated() == 0);
  CHECK(rest.freed() == 0);
}

void test_stream(const satn_frontend_options& options) {
  char message[SATN_FRONTEND_MESSAGE_SIZE] = "";
  satn_frontend_plan* plan = nullptr;
  CHECK(satn_frontend_plan_create(&options, &plan, message, sizeof message) == SATN_FRONTEND_OK);
  const std::size_t expected = satn_frontend_frame_count(plan, kSamples);
  Buffers buffers(satn_frontend_feature_count(plan));
  satn_frontend_stream* stream = nullptr;
  CHECK(satn_frontend_stream_create(plan, &stream, message, sizeof message) == SATN_FRONTEND_OK);

  const Count use;
  for (const std::int32_t format : {SATN_FRONTEND_FLOAT32, SATN_FRONTEND_FLOAT64, SATN_FRONTEND_INT16}) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{160}, std::size_t{997}, kSamples}) {
      CHECK(run(stream, buffers, options.precision, format, piece) == expected);
      satn_frontend_stream_reset(stream);
    }
  }
  run_refused(stream, buffers, options.precision);
  satn_frontend_stream_reset(stream);
  if (use.allocated() > 0 || use.freed() > 0) {
    std::fprintf(stderr, "preset %d, precision %d, deltas %d: %lu allocations and %lu frees after creation\n",
                 options.preset, options.precision, options.deltas, use.allocated(), use.freed());
    ++failures;
  }

  satn_frontend_stream_destroy(stream);
  satn_frontend_plan_destroy(plan);
}

void test_json() {
  char message[SATN_FRONTEND_MESSAGE_SIZE] = "";
  char json[SATN_FRONTEND_JSON_SIZE] = "";
  const char bad[] = R"({"window": "hann", "low_hz": 1e999})";
  std::size_t length = 0;
  satn_frontend_options options = {};
  options.size = sizeof options;
  CHECK(satn_frontend_preset(&options, SATN_FRONTEND_LIBROSA, 16000, 40, message, sizeof message) == SATN_FRONTEND_OK);
  const Count use;
  CHECK(satn_frontend_options_to_json(&options, json, sizeof json, &length, message, sizeof message) ==
        SATN_FRONTEND_OK);
  CHECK(satn_frontend_options_from_json(&options, json, length, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(satn_frontend_options_from_json(&options, bad, sizeof bad - 1, message, sizeof message) ==
        SATN_FRONTEND_ERROR_OPTIONS);
  CHECK(use.allocated() == 0 && use.freed() == 0);
}

}  // namespace

int main() {
  for (std::int32_t preset = SATN_FRONTEND_KALDI; preset <= SATN_FRONTEND_LIBROSA; ++preset) {
    for (const std::int32_t precision : {SATN_FRONTEND_FLOAT32, SATN_FRONTEND_FLOAT64}) {
      for (const bool deltas : {true, false}) {
        const satn_frontend_options options = make_options(preset, precision, deltas);
        test_one_allocation(options);
        test_callers_memory(options);
        test_stream(options);
      }
    }
  }
  test_json();
  if (failures > 0) {
    std::fprintf(stderr, "%d checks failed\n", failures);
    return 1;
  }
  std::puts("one allocation per plan and per stream, none in the caller's memory, none after creation, none for JSON");
  return 0;
}
