/* print_features: audio on standard input, one line of features per frame on standard output.
 *
 * The program shows how a device uses satn_frontend: everything is allocated while it starts; from then on it reads
 * 10 ms of audio, pushes them to a stream and prints the frames that came out, for as long as audio arrives. */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "satn_frontend.h"

enum {
  EXIT_FRONT_END = 1,   /* the front end refused: not finite, bad options, out of memory */
  EXIT_USAGE = 2,       /* the command line */
  EXIT_NOT_WAV = 3,     /* no RIFF WAV, or its header contradicts itself */
  EXIT_CHANNELS = 4,    /* not mono */
  EXIT_TRUNCATED = 5,   /* the input ends early, or cannot be read */
  EXIT_UNSUPPORTED = 6, /* a WAV of another sample format */
  EXIT_RATE = 7,        /* a sample rate that the front end does not take */
  EXIT_EMPTY = 8,       /* no audio */
  EXIT_OUTPUT = 9       /* standard output cannot be written */
};

enum {
  MAX_CHUNK = 3840,        /* 10 ms at 384 kHz, the highest rate */
  MAX_OPTIONS = 16 * 1024, /* bytes of an options file: ten times what there is to say */
  FORMAT_PCM = 1,
  FORMAT_FLOAT = 3,
  FORMAT_EXTENSIBLE = 0xFFFE
};

/* Programs that write to a pipe cannot know the length beforehand and claim the most (arecord, sox, ffmpeg). */
static const uint32_t UNKNOWN_LENGTH = 0x7FFFF000U;

typedef struct input {
  uint32_t rate;
  int32_t format;    /* SATN_FRONTEND_INT16 or SATN_FRONTEND_FLOAT32 */
  size_t width;      /* bytes per sample */
  uint32_t length;   /* bytes of audio, where known */
  int length_known;  /* 0: to the end of the input */
  const char *named; /* for messages: "the WAV" or "the PCM" */
} input;

typedef struct command {
  int raw; /* the input is bare int16 at `rate`, and not a WAV */
  uint32_t rate;
  int32_t preset;
  int32_t n_mels;
  const char *options; /* a file that says it all, in place of the two; or NULL */
} command;

static const char *const PRESETS[] = {"kaldi", "kaldi-hamming", "htk", "psf", "torchaudio", "librosa"};

static const char HELP[] =
    "Usage: print_features [--preset NAME] [--mels N] < speech.wav\n"
    "       print_features [--preset NAME] [--mels N] --raw RATE < speech.pcm\n"
    "       print_features --options front_end.json [--raw RATE] < speech.wav\n"
    "\n"
    "Prints log-Mel features of the audio on standard input, one frame per line, every 10 ms: N log-Mel energies,\n"
    "their deltas and the deltas of the deltas, separated by spaces, with all digits of a float.\n"
    "\n"
    "Input is a RIFF WAV, mono, 16-bit PCM or 32-bit float; or, with --raw, bare 16-bit little-endian samples.\n"
    "\n"
    "  --raw RATE     the input has no header; its sample rate is RATE Hz\n"
    "  --preset NAME  kaldi (default), kaldi-hamming, htk, psf, torchaudio, librosa (without its top_db)\n"
    "  --mels N       Mel bands (default 40)\n"
    "  --options FILE every option, in JSON: the front_end object of a model's manifest.json, or what Python's\n"
    "                 LogMel.describe() gives; the audio must have its sample_rate\n"
    "  --help         print this\n"
    "\n"
    "Exit status: 0 done, 1 refused by the front end, 2 usage, 3 not a WAV, 4 not mono, 5 truncated (the frames\n"
    "printed until then are right), 6 unsupported sample format, 7 unsupported sample rate, 8 no audio, 9 output\n"
    "cannot be written.\n"
    "\n"
    "  arecord -q -t raw -f S16_LE -r 16000 -c 1 | print_features --raw 16000\n";

static char message[SATN_FRONTEND_MESSAGE_SIZE];

/* Audio from file to features passes through these and nothing else. */
static unsigned char bytes[MAX_CHUNK * sizeof(float)];
static union {
  int16_t int16[MAX_CHUNK];
  float float32[MAX_CHUNK];
} samples;

/* One line on standard error; gives back `status`. */
static int fail(int status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("print_features: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  return status;
}

static uint32_t little_endian(const unsigned char *from, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    value |= (uint32_t)from[i] << (8 * i);
  }
  return value;
}

static int read_exactly(unsigned char *to, size_t count) {
  return fread(to, 1, count, stdin) == count;
}

static int skip(uint32_t count) {
  unsigned char nowhere[256];
  while (count > 0) {
    const size_t piece = count < sizeof nowhere ? count : sizeof nowhere;
    if (!read_exactly(nowhere, piece)) {
      return 0;
    }
    count -= (uint32_t)piece;
  }
  return 1;
}

/* The body of a "fmt " chunk. */
static int parse_format(const unsigned char *body, uint32_t size, input *in) {
  uint32_t tag = little_endian(body, 2);
  const uint32_t channels = little_endian(body + 2, 2);
  const uint32_t block = little_endian(body + 12, 2);
  const uint32_t bits = little_endian(body + 14, 2);
  if (tag == FORMAT_EXTENSIBLE && size >= 26) {
    tag = little_endian(body + 24, 2); /* the real one opens the sub-format */
  }
  if (channels != 1) {
    return fail(EXIT_CHANNELS, "the WAV has %u channels, but one is expected: mix it down first", (unsigned)channels);
  }
  if (tag == FORMAT_PCM && bits == 16) {
    in->format = SATN_FRONTEND_INT16;
  } else if (tag == FORMAT_FLOAT && bits == 32) {
    in->format = SATN_FRONTEND_FLOAT32;
  } else {
    return fail(
        EXIT_UNSUPPORTED,
        "the WAV has format %u with %u bits, but 16-bit PCM (format 1) or 32-bit float (3) is expected: convert it",
        (unsigned)tag, (unsigned)bits);
  }
  in->rate = little_endian(body + 4, 4);
  in->width = bits / 8;
  if (block != in->width) {
    return fail(EXIT_NOT_WAV, "the WAV's header contradicts itself: %u bytes per frame of one %u-bit sample",
                (unsigned)block, (unsigned)bits);
  }
  return 0;
}

/* Reads up to the first sample. */
static int open_wav(input *in) {
  unsigned char head[12];
  unsigned char body[40];
  const size_t got = fread(head, 1, sizeof head, stdin);
  if (ferror(stdin)) {
    return fail(EXIT_TRUNCATED, "standard input cannot be read: %s", strerror(errno));
  }
  if (got == 0) {
    return fail(EXIT_EMPTY, "standard input is empty: a WAV is expected (or PCM, with --raw)");
  }
  if (got < 4 || memcmp(head, "RIFF", 4) != 0 || (got == sizeof head && memcmp(head + 8, "WAVE", 4) != 0)) {
    return fail(EXIT_NOT_WAV, "standard input is not a RIFF WAV: convert it, or give bare PCM and --raw RATE");
  }
  int formatted = 0;
  for (;;) {
    if (got < sizeof head || !read_exactly(head, 8)) {
      return fail(EXIT_TRUNCATED, "the WAV ends before its audio: it is truncated");
    }
    const uint32_t size = little_endian(head + 4, 4);
    if (memcmp(head, "data", 4) == 0) {
      if (!formatted) {
        return fail(EXIT_NOT_WAV, "the WAV's audio comes before its format: it is damaged");
      }
      in->length = size;
      in->length_known = size < UNKNOWN_LENGTH;
      return 0;
    }
    const uint32_t rest = size % 2; /* chunks are padded to even sizes */
    if (memcmp(head, "fmt ", 4) == 0) {
      if (size < 16 || size > 65536) {
        return fail(EXIT_NOT_WAV, "the WAV's format chunk has %u bytes: it is damaged", (unsigned)size);
      }
      const uint32_t kept = size < sizeof body ? size : (uint32_t)sizeof body;
      if (!read_exactly(body, kept) || !skip(size - kept + rest)) {
        return fail(EXIT_TRUNCATED, "the WAV ends within its header: it is truncated");
      }
      const int status = parse_format(body, size, in);
      if (status != 0) {
        return status;
      }
      formatted = 1;
    } else if (!skip(size) || !skip(rest)) {
      return fail(EXIT_TRUNCATED, "the WAV ends before its audio: it is truncated");
    }
  }
}

static int parse_number(const char *text, long low, long high, long *value) {
  char *end = NULL;
  errno = 0;
  *value = strtol(text, &end, 10);
  return errno == 0 && end != text && *end == '\0' && *value >= low && *value <= high;
}

static int parse_preset(const char *name, int32_t *preset) {
  for (*preset = SATN_FRONTEND_KALDI; *preset <= SATN_FRONTEND_LIBROSA; ++*preset) {
    if (strcmp(PRESETS[*preset], name) == 0) {
      return 0;
    }
  }
  return fail(EXIT_USAGE, "--preset is %s, but must be kaldi, kaldi-hamming, htk, psf, torchaudio or librosa", name);
}

static int parse_command(int argc, char **argv, command *to) {
  int chosen = 0; /* a preset or a number of bands */
  for (int i = 1; i < argc; i += 2) {
    const char *name = argv[i];
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    const int raw = strcmp(name, "--raw") == 0;
    const int preset = strcmp(name, "--preset") == 0;
    const int mels = strcmp(name, "--mels") == 0;
    long number = 0;
    if (!raw && !preset && !mels && strcmp(name, "--options") != 0) {
      return fail(EXIT_USAGE, "unknown argument %s: see --help", name);
    }
    if (value == NULL) {
      return fail(EXIT_USAGE, "%s needs a value: see --help", name);
    }
    if (raw) {
      if (!parse_number(value, 1, INT32_MAX, &number)) {
        return fail(EXIT_USAGE, "--raw is %s, but must be a sample rate in Hz", value);
      }
      to->raw = 1;
      to->rate = (uint32_t)number;
    } else if (mels) {
      if (!parse_number(value, 1, 32768, &number)) {
        return fail(EXIT_USAGE, "--mels is %s, but must be a number of bands from 1", value);
      }
      to->n_mels = (int32_t)number;
    } else if (preset) {
      const int status = parse_preset(value, &to->preset);
      if (status != 0) {
        return status;
      }
    } else {
      to->options = value;
    }
    chosen |= preset || mels;
  }
  if (chosen && to->options != NULL) {
    return fail(EXIT_USAGE, "--options says it all: leave out --preset and --mels, and write them to %s", to->options);
  }
  return 0;
}

static int read_options(const char *path, satn_frontend_options *options) {
  static char json[MAX_OPTIONS];
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    return fail(EXIT_USAGE, "--options is %s, which cannot be read: %s", path, strerror(errno));
  }
  const size_t length = fread(json, 1, sizeof json, file);
  const int broken = ferror(file);
  fclose(file);
  if (broken || length == sizeof json) {
    return fail(EXIT_USAGE, "--options is %s, which %s: give a file of options", path,
                broken ? "cannot be read" : "is too long");
  }
  if (satn_frontend_options_from_json(options, json, length, message, sizeof message)) {
    return fail(EXIT_FRONT_END, "%s: %s", path, message);
  }
  return 0;
}

static int make_plan(const command *wanted, uint32_t rate, satn_frontend_plan **plan) {
  satn_frontend_options options;
  options.size = sizeof options;
  if (rate < 1000 || rate > 384000) {
    return fail(EXIT_RATE, "the sample rate is %u Hz, but must be 1000 to 384000", (unsigned)rate);
  }
  if (wanted->options != NULL) {
    const int status = read_options(wanted->options, &options);
    if (status != 0) {
      return status;
    }
    if (options.sample_rate != (int32_t)rate) {
      return fail(EXIT_RATE, "the sample rate is %u Hz, but %s is for %d Hz: resample the audio", (unsigned)rate,
                  wanted->options, (int)options.sample_rate);
    }
  } else {
    if (satn_frontend_preset(&options, wanted->preset, (int32_t)rate, wanted->n_mels, message, sizeof message)) {
      return fail(EXIT_FRONT_END, "%s", message);
    }
    options.top_db = -1.0; /* needs the whole utterance: nothing for a stream */
  }
  if (satn_frontend_plan_create(&options, plan, message, sizeof message)) {
    return fail(EXIT_FRONT_END, "%s", message);
  }
  return 0;
}

/* Room for the rows of any push and of the end: what a chunk completes, what waits for the first window or for enough
 * samples to mirror, and the look-ahead of the deltas. */
static int make_rows(const satn_frontend_plan *plan, uint32_t chunk, satn_frontend_features *rows) {
  satn_frontend_options options;
  options.size = sizeof options;
  if (satn_frontend_plan_options(plan, &options, message, sizeof message)) {
    return fail(EXIT_FRONT_END, "%s", message);
  }
  const size_t waiting = satn_frontend_frame_length(plan) + (size_t)options.fft_size;
  const size_t width = satn_frontend_feature_count(plan);
  rows->format = options.precision;
  rows->capacity = (chunk + waiting) / satn_frontend_hop_length(plan) + 2 * (size_t)options.delta_window + 2;
  rows->data =
      malloc(rows->capacity * width * (rows->format == SATN_FRONTEND_FLOAT64 ? sizeof(double) : sizeof(float)));
  return rows->data != NULL ? 0 : fail(EXIT_FRONT_END, "out of memory");
}

static int print_rows(const satn_frontend_features *rows, size_t width) {
  /* So many digits bring back the same number. */
  const int digits = rows->format == SATN_FRONTEND_FLOAT64 ? 17 : 9;
  for (size_t i = 0; i < rows->frames * width; ++i) {
    const double value = rows->format == SATN_FRONTEND_FLOAT64 ? ((const double *)rows->data)[i]
                                                               : (double)((const float *)rows->data)[i];
    printf("%.*g%c", digits, value, (i + 1) % width != 0 ? ' ' : '\n');
  }
  /* Who listens live wants each frame when it is ready. */
  if (rows->frames > 0 && (fflush(stdout) != 0 || ferror(stdout))) {
    return fail(EXIT_OUTPUT, "standard output cannot be written: %s", strerror(errno));
  }
  return 0;
}

static void decode(const input *in, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t bits = little_endian(bytes + i * in->width, in->width);
    if (in->format == SATN_FRONTEND_INT16) {
      samples.int16[i] = (int16_t)(bits < 0x8000U ? (int32_t)bits : (int32_t)bits - 0x10000);
    } else {
      memcpy(&samples.float32[i], &bits, sizeof(float));
    }
  }
}

/* Samples in 10 ms. */
static uint32_t chunk_length(const input *in) {
  return in->rate / 100;
}

/* From the first sample to the last frame. Nothing is allocated here. */
static int print_stream(const input *in, satn_frontend_stream *stream, size_t width, satn_frontend_features *rows) {
  const uint32_t chunk = chunk_length(in) * (uint32_t)in->width;
  uint32_t left = in->length;
  int empty = 1;
  for (;;) {
    const uint32_t wanted = in->length_known && left < chunk ? left : chunk;
    const size_t got = fread(bytes, 1, wanted, stdin);
    const size_t count = got / in->width;
    if (count > 0) {
      const satn_frontend_audio audio = {&samples, count, in->format};
      decode(in, count);
      if (satn_frontend_stream_push(stream, &audio, rows, message, sizeof message)) {
        return fail(EXIT_FRONT_END, "%s", message);
      }
      const int status = print_rows(rows, width);
      if (status != 0) {
        return status;
      }
      empty = 0;
    }
    if (ferror(stdin)) {
      return fail(EXIT_TRUNCATED, "standard input cannot be read: %s", strerror(errno));
    }
    if (got % in->width != 0) {
      return fail(EXIT_TRUNCATED, "%s ends in the middle of a sample: it is truncated", in->named);
    }
    left -= in->length_known ? (uint32_t)got : 0;
    if (got < wanted && in->length_known) {
      return fail(EXIT_TRUNCATED, "%s ends %u bytes before its header says: it is truncated", in->named,
                  (unsigned)left);
    }
    if (got < wanted || wanted == 0 || (in->length_known && left == 0)) {
      break;
    }
  }
  if (empty) {
    return fail(EXIT_EMPTY, "%s holds no audio", in->named);
  }
  if (satn_frontend_stream_finish(stream, rows, message, sizeof message)) {
    return fail(EXIT_FRONT_END, "%s", message);
  }
  return print_rows(rows, width);
}

int main(int argc, char **argv) {
  static char input_buffer[1 << 16];
  static char output_buffer[1 << 16];
  command wanted = {0, 0, SATN_FRONTEND_KALDI, 40, NULL};
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--help") == 0) {
      return fputs(HELP, stdout) < 0 || fflush(stdout) != 0 ? EXIT_OUTPUT : 0;
    }
  }
  int status = parse_command(argc, argv, &wanted);
  if (status != 0) {
    return status;
  }
  /* Given here so that the C library does not allocate its own. */
  setvbuf(stdin, input_buffer, _IOFBF, sizeof input_buffer);
  setvbuf(stdout, output_buffer, _IOFBF, sizeof output_buffer);

  input in = {wanted.rate, SATN_FRONTEND_INT16, sizeof(int16_t), 0, 0, wanted.raw ? "the PCM" : "the WAV"};
  if (!wanted.raw) {
    status = open_wav(&in);
  }
  satn_frontend_plan *plan = NULL;
  if (status == 0) {
    status = make_plan(&wanted, in.rate, &plan);
  }
  if (status != 0) {
    return status;
  }

  const size_t width = satn_frontend_feature_count(plan);
  satn_frontend_features rows = {NULL, 0, 0, SATN_FRONTEND_FLOAT32};
  satn_frontend_stream *stream = NULL;
  status = make_rows(plan, chunk_length(&in), &rows);
  if (status == 0 && satn_frontend_stream_create(plan, &stream, message, sizeof message)) {
    status = fail(EXIT_FRONT_END, "%s", message);
  }
  if (status == 0) {
    satn_frontend_plan_destroy(plan); /* the stream keeps what it needs */
    plan = NULL;
    status = print_stream(&in, stream, width, &rows);
  }
  satn_frontend_stream_destroy(stream);
  satn_frontend_plan_destroy(plan);
  free(rows.data);
  return status;
}
