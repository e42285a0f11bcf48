/* satn_frontend.h: log-Mel features with deltas, the C API.
 *
 * WHAT IT DOES
 *
 *   Mono audio goes in, one row of features per frame comes out:
 *
 *       n_mels log-Mel energies | their deltas | the deltas of the deltas
 *
 *   (the last two only while `deltas` is set). Presets reproduce published tools; every parameter of a preset can be
 *   changed. A stream, fed in pieces of any size, gives exactly the numbers of the whole-utterance function.
 *
 * HOW IT IS USED
 *
 *       char message[SATN_FRONTEND_MESSAGE_SIZE];
 *       satn_frontend_options options;
 *       satn_frontend_plan *plan = NULL;
 *
 *       options.size = sizeof options;
 *       if (satn_frontend_preset(&options, SATN_FRONTEND_KALDI, 16000, 40, message, sizeof message) ||
 *           satn_frontend_plan_create(&options, &plan, message, sizeof message)) {
 *           fprintf(stderr, "%s\n", message);
 *           return 1;
 *       }
 *       satn_frontend_audio audio = {samples, n_samples, SATN_FRONTEND_INT16};
 *       satn_frontend_features features = {rows, n_rows, 0, SATN_FRONTEND_FLOAT32};
 *       if (satn_frontend_compute(plan, &audio, &features, message, sizeof message)) ...
 *       // features.frames rows of satn_frontend_feature_count(plan) floats now stand in rows
 *       satn_frontend_plan_destroy(plan);
 *
 * RULES
 *
 *   - Every function that can fail returns a status, zero for success, and writes one sentence (what is wrong, the
 *     value, the remedy) to `message`, cut to `message_size` bytes and always terminated. `message` may be NULL.
 *     Success leaves `message` alone.
 *   - A call that fails changes nothing: no output is written, no sample is consumed. (The one exception:
 *     SATN_FRONTEND_ERROR_MEMORY says nothing about the rows.)
 *   - The library has no global state, never exits, never prints, and lets no C++ exception out.
 *   - A plan is immutable: any number of threads may use one plan at once. A stream belongs to one thread at a time. A
 *     stream keeps what it needs of its plan, so the two may be destroyed in any order.
 *   - Memory is one block per plan and one per stream, whose size is known before (satn_frontend_plan_bytes,
 *     satn_frontend_stream_bytes): from the heap, allocated by satn_frontend_plan_create and
 *     satn_frontend_stream_create, or the caller's own, given to satn_frontend_plan_create_in and
 *     satn_frontend_stream_create_in. Pushing to a stream allocates nothing, and a stream's memory does not grow.
 *     satn_frontend_compute allocates one block per call and frees it. Nothing else touches the heap.
 *   - The caller's memory stays the caller's: destroying what stands in it frees nothing. It must stay in place until
 *     the destruction; that of a plan also until its streams are destroyed.
 */
#ifndef SATN_FRONTEND_H
#define SATN_FRONTEND_H

#include <stddef.h>
#include <stdint.h>

/* Before each function: what a shared library offers, and nothing else of it is to be seen. The library's CMake target
 * and pkg-config file define SATN_FRONTEND_SHARED where it is one; without them, define it to link to a Windows DLL. */
#if !defined(SATN_FRONTEND_SHARED)
#define SATN_FRONTEND_API
#elif defined(_WIN32) && defined(SATN_FRONTEND_BUILDING)
#define SATN_FRONTEND_API __declspec(dllexport)
#elif defined(_WIN32)
#define SATN_FRONTEND_API __declspec(dllimport)
#else
#define SATN_FRONTEND_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A buffer of this size holds any message whole. */
#define SATN_FRONTEND_MESSAGE_SIZE 320

/* What the address of the caller's memory for a plan or a stream must be a multiple of. */
#define SATN_FRONTEND_MEMORY_ALIGNMENT 64

/* A buffer of this size holds any options in JSON, with the terminating zero. */
#define SATN_FRONTEND_JSON_SIZE 1536

typedef enum satn_frontend_status {
  SATN_FRONTEND_OK = 0,
  SATN_FRONTEND_ERROR_ARGUMENT = 1,       /* a NULL pointer, an unknown preset, a `size` that is not known */
  SATN_FRONTEND_ERROR_OPTIONS = 2,        /* an option out of range, two that contradict each other, bad JSON */
  SATN_FRONTEND_ERROR_AUDIO = 3,          /* no samples, or too few to reflect at the edges */
  SATN_FRONTEND_ERROR_NOT_FINITE = 4,     /* a NaN, an infinity, or a sample so large that its power overflows */
  SATN_FRONTEND_ERROR_FORMAT = 5,         /* a sample format that is not known; features not in the plan's precision */
  SATN_FRONTEND_ERROR_CAPACITY = 6,       /* the output has too few rows, or bytes */
  SATN_FRONTEND_ERROR_FINISHED = 7,       /* a finished stream was pushed to, or finished again, without a reset */
  SATN_FRONTEND_ERROR_NOT_STREAMABLE = 8, /* an option needs the whole utterance (top_db) */
  SATN_FRONTEND_ERROR_MEMORY = 9          /* out of memory, or the caller's is too small */
} satn_frontend_status;

/* Presets: what a published tool computes at its defaults, 25 ms windows every 10 ms. */
typedef enum satn_frontend_preset_id {
  SATN_FRONTEND_KALDI = 0,         /* Kaldi fbank, dither off: Povey window, 20 Hz to Nyquist */
  SATN_FRONTEND_KALDI_HAMMING = 1, /* the same with a Hamming window (FunASR) */
  SATN_FRONTEND_HTK = 2,           /* openSMILE, HTK-compatible Mel spectrum, natural logarithm */
  SATN_FRONTEND_PSF = 3,           /* python_speech_features.logfbank */
  SATN_FRONTEND_TORCHAUDIO = 4,    /* torchaudio MelSpectrogram(n_fft=512, win_length=400), ln(max(x, 1e-10)) */
  SATN_FRONTEND_LIBROSA = 5        /* librosa melspectrogram (zero padding) and power_to_db(top_db=80) */
} satn_frontend_preset_id;

enum { SATN_FRONTEND_FLOAT32 = 0, SATN_FRONTEND_FLOAT64 = 1, SATN_FRONTEND_INT16 = 2 }; /* formats, precision */

enum { /* window; n is the window length, the periodic kinds have period n, the others n - 1 */
       SATN_FRONTEND_WINDOW_POVEY = 0, /* Hann to the power 0.85 */
       SATN_FRONTEND_WINDOW_HAMMING = 1,
       SATN_FRONTEND_WINDOW_HAMMING_PERIODIC = 2,
       SATN_FRONTEND_WINDOW_HANN = 3,
       SATN_FRONTEND_WINDOW_HANN_PERIODIC = 4,
       SATN_FRONTEND_WINDOW_RECTANGULAR = 5
};

enum {                                          /* framing: which frames N samples give, hop apart */
       SATN_FRONTEND_FRAMING_SNIP_EDGES = 0,    /* only whole windows; none if N < window: 1 + (N - window) / hop */
       SATN_FRONTEND_FRAMING_PAD_END = 1,       /* the last window is filled with zeros: 1 + ceil((N - window) / hop) */
       SATN_FRONTEND_FRAMING_CENTER_ZERO = 2,   /* frame t is centred on sample t * hop, zeros outside: 1 + N / hop */
       SATN_FRONTEND_FRAMING_CENTER_REFLECT = 3 /* the same, mirrored at the ends; needs N > fft_size / 2 */
};

enum { SATN_FRONTEND_ROUND_DOWN = 0, SATN_FRONTEND_ROUND_NEAREST = 1 }; /* seconds to samples */

enum {                                      /* pre-emphasis y[n] = x[n] - c * x[n-1] */
       SATN_FRONTEND_PREEMPHASIS_FRAME = 0, /* within each frame, y[0] = (1 - c) * x[0] */
       SATN_FRONTEND_PREEMPHASIS_SIGNAL = 1 /* over the whole signal before framing, y[0] = x[0] */
};

enum { SATN_FRONTEND_MEL_HTK = 0, SATN_FRONTEND_MEL_SLANEY = 1 }; /* 2595 log10(1 + f / 700); linear below 1 kHz */

enum {                                /* filters: what a triangle is straight in */
       SATN_FRONTEND_FILTERS_MEL = 0, /* Mel */
       SATN_FRONTEND_FILTERS_HZ = 1,  /* Hz */
       SATN_FRONTEND_FILTERS_BINS = 2 /* FFT bins, edges floored to whole bins */
};

enum { SATN_FRONTEND_NORM_NONE = 0, SATN_FRONTEND_NORM_SLANEY = 1 };     /* peak 1; area constant (2 / width in Hz) */
enum { SATN_FRONTEND_POWER_NONE = 0, SATN_FRONTEND_POWER_FFT_SIZE = 1 }; /* |X|^2; |X|^2 / fft_size */

enum { SATN_FRONTEND_LOG_LN = 0, SATN_FRONTEND_LOG_LOG10 = 1, SATN_FRONTEND_LOG_DB = 2, SATN_FRONTEND_LOG_NONE = 3 };

enum {                                /* what `floor` does to a band's energy x before the logarithm */
       SATN_FRONTEND_FLOOR_CLAMP = 0, /* max(x, floor) */
       SATN_FRONTEND_FLOOR_ZERO = 1   /* floor in place of an exact zero */
};

/* Every parameter. Fill it with satn_frontend_preset, then change what you like. */
typedef struct satn_frontend_options {
  size_t size;              /* sizeof(satn_frontend_options); set it before any call */
  int32_t preset;           /* satn_frontend_preset_id: where the values came from; no effect of its own */
  int32_t sample_rate;      /* Hz, 1000 to 384000 */
  int32_t n_mels;           /* bands, 1 to fft_size / 2 */
  int32_t precision;        /* of arithmetic and features: SATN_FRONTEND_FLOAT32 or (where built in) _FLOAT64 */
  double window_seconds;    /* window length */
  double hop_seconds;       /* from one frame to the next */
  int32_t sample_rounding;  /* SATN_FRONTEND_ROUND_... */
  int32_t fft_size;         /* power of two, window to 65536; 0: the smallest that holds the window */
  int32_t window;           /* SATN_FRONTEND_WINDOW_... */
  int32_t framing;          /* SATN_FRONTEND_FRAMING_... */
  int32_t remove_dc;        /* subtract each frame's mean: 0 or 1 */
  int32_t preemphasis_mode; /* SATN_FRONTEND_PREEMPHASIS_... */
  double preemphasis;       /* c above, 0 (off) to 1 */
  double low_hz;            /* lower edge of the lowest band */
  double high_hz;           /* upper edge of the highest band; 0: Nyquist */
  int32_t mel_scale;        /* SATN_FRONTEND_MEL_... */
  int32_t filters;          /* SATN_FRONTEND_FILTERS_... */
  int32_t filter_norm;      /* SATN_FRONTEND_NORM_... */
  int32_t power_norm;       /* SATN_FRONTEND_POWER_... */
  int32_t log;              /* SATN_FRONTEND_LOG_... */
  int32_t floor_mode;       /* SATN_FRONTEND_FLOOR_... */
  double floor;             /* energy; must exceed 0 where a logarithm is taken */
  double top_db;            /* with SATN_FRONTEND_LOG_DB: clip this far below the utterance's maximum; negative: off */
  double float_scale;       /* factor applied to float32 and float64 samples */
  double int16_scale;       /* factor applied to int16 samples */
  int32_t deltas;           /* append deltas and delta-deltas: 0 or 1 */
  int32_t delta_window;     /* N of the regression, 1 to 16 frames on each side */
} satn_frontend_options;

/* Samples of one channel. `data` may be NULL where count is 0. */
typedef struct satn_frontend_audio {
  const void* data;
  size_t count;   /* samples */
  int32_t format; /* SATN_FRONTEND_FLOAT32, SATN_FRONTEND_FLOAT64 or SATN_FRONTEND_INT16 */
} satn_frontend_audio;

/* Rows to be written, one after the other, satn_frontend_feature_count(plan) values each. */
typedef struct satn_frontend_features {
  void* data;
  size_t capacity; /* rows there is room for */
  size_t frames;   /* out: rows written */
  int32_t format;  /* SATN_FRONTEND_FLOAT32 or SATN_FRONTEND_FLOAT64, the plan's precision */
} satn_frontend_features;

typedef struct satn_frontend_plan satn_frontend_plan;
typedef struct satn_frontend_stream satn_frontend_stream;

/* The library's version, "major.minor.patch". */
SATN_FRONTEND_API const char* satn_frontend_version(void);

/* Fills *options (whose `size` is set) with a preset. At other rates than 16 kHz, window and hop keep their duration,
 * and the FFT is the smallest power of two that holds the window. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_preset(satn_frontend_options* options, int32_t preset,
                                                            int32_t sample_rate, int32_t n_mels, char* message,
                                                            size_t message_size);

/* Fills *options (whose `size` is set) from a JSON object: what Python's LogMel.describe() gives, or the front_end
 * object of an export's manifest.json.
 *
 *     {"preset": "kaldi-hamming", "n_mels": 64, "window": "hann", "high_hz": null, "deltas": false}
 *
 * The names are those of the fields above, the choices are written in lower case ("snip_edges", "float64"). The
 * preset's values (kaldi, 16000 Hz and 40 bands where the object does not say) come first, and every other entry goes
 * over them; null lets fft_size and high_hz be chosen (0), and turns top_db off (-1).
 *
 * `json` has `length` bytes and needs no terminator. What is not exactly one flat JSON object of known names, each
 * given once and with a value of its type and range, is SATN_FRONTEND_ERROR_OPTIONS; the message says where. Escapes
 * (\u0041) are refused: no name needs one. Nothing is allocated, and the locale has no say. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_options_from_json(satn_frontend_options* options, const char* json,
                                                                       size_t length, char* message,
                                                                       size_t message_size);

/* Writes options as one line of JSON with every field, from which satn_frontend_options_from_json and Python's
 * LogMel(**json.loads(...)) make equal ones: numbers have the fewest digits that give them back. Options that no plan
 * can have are refused. To write what is in effect, fft_size and high_hz resolved, take satn_frontend_plan_options
 * first.
 *
 * *length becomes the length of the text without the zero that ends it, also where `capacity` bytes do not hold both:
 * that is SATN_FRONTEND_ERROR_CAPACITY, and writes nothing else. A NULL `json` with capacity 0 asks for the length. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_options_to_json(const satn_frontend_options* options, char* json,
                                                                     size_t capacity, size_t* length, char* message,
                                                                     size_t message_size);

/* Checks the options and computes every table. *plan is NULL unless the result is SATN_FRONTEND_OK. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_plan_create(const satn_frontend_options* options,
                                                                 satn_frontend_plan** plan, char* message,
                                                                 size_t message_size);

/* Bytes that a plan of these options needs, in *bytes. The number depends on the options, the target and the library's
 * version; reckoning it takes about half the time of satn_frontend_plan_create. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_plan_bytes(const satn_frontend_options* options, size_t* bytes,
                                                                char* message, size_t message_size);

/* satn_frontend_plan_create without the heap: the plan stands in `memory`, which starts at a multiple of
 * SATN_FRONTEND_MEMORY_ALIGNMENT (else SATN_FRONTEND_ERROR_ARGUMENT). Too few bytes are SATN_FRONTEND_ERROR_MEMORY, and
 * the message says how many it takes. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_plan_create_in(const satn_frontend_options* options, void* memory,
                                                                    size_t bytes, satn_frontend_plan** plan,
                                                                    char* message, size_t message_size);

/* Frees a plan, in whoever's memory it stands. NULL is accepted. */
SATN_FRONTEND_API void satn_frontend_plan_destroy(satn_frontend_plan* plan);

/* Copies the options in effect, fft_size and high_hz resolved, to *options (whose `size` is set). */
SATN_FRONTEND_API satn_frontend_status satn_frontend_plan_options(const satn_frontend_plan* plan,
                                                                  satn_frontend_options* options, char* message,
                                                                  size_t message_size);

/* The instruction set in use: "sse2", "avx2", "avx512", "neon" or "scalar". The best that the processor has is chosen
 * when a plan is created; the environment variable SATN_FAST_ISA forces another. */
SATN_FRONTEND_API const char* satn_frontend_isa(const satn_frontend_plan* plan);

/* Values per frame: n_mels, or 3 * n_mels with deltas. */
SATN_FRONTEND_API size_t satn_frontend_feature_count(const satn_frontend_plan* plan);

/* Window and hop, in samples. */
SATN_FRONTEND_API size_t satn_frontend_frame_length(const satn_frontend_plan* plan);
SATN_FRONTEND_API size_t satn_frontend_hop_length(const satn_frontend_plan* plan);

/* Bands too narrow to hold an FFT bin: their features are a constant, log(floor). 0 is what you want; if it is not,
 * take fewer bands, a larger FFT or a higher low_hz. */
SATN_FRONTEND_API size_t satn_frontend_empty_band_count(const satn_frontend_plan* plan);

/* Frames of an utterance of n_samples; 0 where it is too short for any. */
SATN_FRONTEND_API size_t satn_frontend_frame_count(const satn_frontend_plan* plan, size_t n_samples);

/* Features of a whole utterance. An utterance too short for one frame gives 0 rows with SNIP_EDGES framing, and
 * SATN_FRONTEND_ERROR_AUDIO with CENTER_REFLECT. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_compute(const satn_frontend_plan* plan,
                                                             const satn_frontend_audio* audio,
                                                             satn_frontend_features* features, char* message,
                                                             size_t message_size);

/* A stream over a plan. *stream is NULL unless the result is SATN_FRONTEND_OK. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_stream_create(const satn_frontend_plan* plan,
                                                                   satn_frontend_stream** stream, char* message,
                                                                   size_t message_size);

/* Bytes that a stream over the plan needs. */
SATN_FRONTEND_API size_t satn_frontend_stream_bytes(const satn_frontend_plan* plan);

/* satn_frontend_stream_create without the heap, as satn_frontend_plan_create_in. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_stream_create_in(const satn_frontend_plan* plan, void* memory,
                                                                      size_t bytes, satn_frontend_stream** stream,
                                                                      char* message, size_t message_size);

/* Frees a stream, in whoever's memory it stands. NULL is accepted. */
SATN_FRONTEND_API void satn_frontend_stream_destroy(satn_frontend_stream* stream);

/* Rows that pushing n_samples now would give, and that finishing now would give. */
SATN_FRONTEND_API size_t satn_frontend_stream_push_frames(const satn_frontend_stream* stream, size_t n_samples);
SATN_FRONTEND_API size_t satn_frontend_stream_finish_frames(const satn_frontend_stream* stream);

/* Takes all samples, writes the frames they complete (with deltas, 2 * delta_window frames later). The format may
 * change from push to push. Too little room is SATN_FRONTEND_ERROR_CAPACITY and consumes nothing: push less at once. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_stream_push(satn_frontend_stream* stream,
                                                                 const satn_frontend_audio* audio,
                                                                 satn_frontend_features* features, char* message,
                                                                 size_t message_size);

/* Ends the utterance and writes the remaining frames: all rows together now equal satn_frontend_compute's. A stream
 * that was given no samples writes none. */
SATN_FRONTEND_API satn_frontend_status satn_frontend_stream_finish(satn_frontend_stream* stream,
                                                                   satn_frontend_features* features, char* message,
                                                                   size_t message_size);

/* Back to the state after creation, for the next utterance. NULL is accepted. */
SATN_FRONTEND_API void satn_frontend_stream_reset(satn_frontend_stream* stream);

#ifdef __cplusplus
}
#endif

#endif /* SATN_FRONTEND_H */
