/* Options in JSON: what is read and written, and every way in which a text can be wrong. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "satn_frontend.h"

static int failures = 0;

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                               \
    }                                                                           \
  } while (0)

static char message[SATN_FRONTEND_MESSAGE_SIZE];

static satn_frontend_options preset(int32_t id) {
  satn_frontend_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  CHECK(satn_frontend_preset(&options, id, 16000, 40, message, sizeof message) == SATN_FRONTEND_OK);
  return options;
}

static satn_frontend_options read_text(const char *json) {
  satn_frontend_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  if (satn_frontend_options_from_json(&options, json, strlen(json), message, sizeof message) != SATN_FRONTEND_OK) {
    fprintf(stderr, "%s\nrefused: %s\n", json, message);
    ++failures;
  }
  return options;
}

/* Written as JSON, every field is compared. */
static int same(const satn_frontend_options *a, const satn_frontend_options *b) {
  char first[SATN_FRONTEND_JSON_SIZE];
  char second[SATN_FRONTEND_JSON_SIZE];
  size_t length = 0;
  return satn_frontend_options_to_json(a, first, sizeof first, &length, message, sizeof message) == SATN_FRONTEND_OK &&
         satn_frontend_options_to_json(b, second, sizeof second, &length, message, sizeof message) ==
             SATN_FRONTEND_OK &&
         strcmp(first, second) == 0;
}

static void test_presets_and_overrides(void) {
  static const char *const names[] = {"kaldi", "kaldi-hamming", "htk", "psf", "torchaudio", "librosa"};
  for (int32_t id = SATN_FRONTEND_KALDI; id <= SATN_FRONTEND_LIBROSA; ++id) {
    char json[64];
    snprintf(json, sizeof json, "{\"preset\": \"%s\"}", names[id]);
    const satn_frontend_options read = read_text(json);
    const satn_frontend_options expected = preset(id);
    CHECK(same(&read, &expected));
  }
  satn_frontend_options expected = preset(SATN_FRONTEND_KALDI);
  satn_frontend_options read = read_text("{}");
  CHECK(same(&read, &expected));
  read = read_text(" \t\r\n{ \n} ");
  CHECK(same(&read, &expected));

  /* The preset's values come first, wherever it stands; numbers may be written in every way that JSON has. */
  CHECK(satn_frontend_preset(&expected, SATN_FRONTEND_LIBROSA, 8000, 64, message, sizeof message) == SATN_FRONTEND_OK);
  expected.top_db = -1.0;
  expected.low_hz = 20.0;
  expected.high_hz = 3500.0;
  expected.floor = 1e-9;
  expected.window = SATN_FRONTEND_WINDOW_HAMMING_PERIODIC;
  expected.precision = SATN_FRONTEND_FLOAT64;
  expected.deltas = 0;
  expected.int16_scale = -0.5;
  read = read_text(
      "{\"top_db\":null,\"low_hz\":20,\"high_hz\" : 3.5E+3,\r\n\t\"floor\":1e-9,\"window\":\"hamming_periodic\","
      "\"precision\":\"float64\",\"deltas\":false,\"int16_scale\":-0.5,\"fft_size\":null,"
      "\"n_mels\":64,\"sample_rate\":8000,\"preset\":\"librosa\"}");
  CHECK(same(&read, &expected));
}

static void test_what_is_written_is_read(void) {
  satn_frontend_options options = preset(SATN_FRONTEND_LIBROSA);
  char json[SATN_FRONTEND_JSON_SIZE];
  size_t length = 0;
  CHECK(satn_frontend_options_to_json(&options, json, sizeof json, &length, message, sizeof message) == 0);
  CHECK(length == strlen(json));
  CHECK(strcmp(json,
               "{\"sample_rate\": 16000, \"n_mels\": 40, \"preset\": \"librosa\", \"precision\": \"float32\", "
               "\"window_seconds\": 0.025, \"hop_seconds\": 0.01, \"sample_rounding\": \"nearest\", "
               "\"fft_size\": null, \"window\": \"hann_periodic\", \"framing\": \"center_zero\", "
               "\"remove_dc\": false, \"preemphasis\": 0.0, \"preemphasis_mode\": \"frame\", \"low_hz\": 0.0, "
               "\"high_hz\": null, \"mel_scale\": \"slaney\", \"filters\": \"hz\", \"filter_norm\": \"slaney\", "
               "\"power_norm\": \"none\", \"log\": \"db\", \"floor\": 1e-10, \"floor_mode\": \"clamp\", "
               "\"top_db\": 80.0, \"float_scale\": 1.0, \"int16_scale\": 3.0517578125e-05, \"deltas\": true, "
               "\"delta_window\": 2}") == 0);
  satn_frontend_options again = read_text(json);
  CHECK(same(&again, &options));

  options.window_seconds = 0.1 + 0.2; /* 17 digits */
  options.floor = 2.2250738585072014e-308;
  options.precision = SATN_FRONTEND_FLOAT64;
  options.top_db = -INFINITY;
  CHECK(satn_frontend_options_to_json(&options, json, sizeof json, &length, message, sizeof message) == 0);
  again = read_text(json);
  options.top_db = -1.0;
  CHECK(same(&again, &options));
}

static void test_capacity(void) {
  const satn_frontend_options options = preset(SATN_FRONTEND_PSF);
  char json[SATN_FRONTEND_JSON_SIZE];
  size_t length = 0;
  CHECK(satn_frontend_options_to_json(&options, NULL, 0, &length, message, sizeof message) == SATN_FRONTEND_OK);
  CHECK(length > 400 && length < sizeof json);
  memset(json, '#', sizeof json);
  size_t again = 0;
  CHECK(satn_frontend_options_to_json(&options, json, length, &again, message, sizeof message) ==
        SATN_FRONTEND_ERROR_CAPACITY);
  CHECK(again == length && json[0] == '#' && json[length - 1] == '#');
  CHECK(strstr(message, "SATN_FRONTEND_JSON_SIZE") != NULL);
  CHECK(satn_frontend_options_to_json(&options, json, length + 1, &again, message, sizeof message) == 0);
  CHECK(strlen(json) == length && memchr(json, '#', sizeof json) == json + length + 1);
}

/* Refused, with a message that says `words`, and nothing changed. */
static void refused(const char *json, size_t length, const char *words) {
  const satn_frontend_options before = preset(SATN_FRONTEND_HTK);
  satn_frontend_options options = before;
  message[0] = '\0';
  CHECK(satn_frontend_options_from_json(&options, json, length, message, sizeof message) ==
        SATN_FRONTEND_ERROR_OPTIONS);
  CHECK(same(&options, &before));
  if (strstr(message, words) == NULL) {
    fprintf(stderr, "%s\nsays: %s\nbut not: %s\n", json, message, words);
    ++failures;
  }
}

static void test_bad_text(void) {
  static const char *const bad[][2] = {
      /* no object */
      {"", "line 1, column 1: the text ends here, where an object"},
      {"  ", "the text ends"},
      {"[]", "'[' stands here"},
      {"\"kaldi\"", "an object"},
      {"null", "an object"},
      {"\xEF\xBB\xBF{}", "byte 0xEF stands here"},
      /* an object that is broken */
      {"{", "a name in double quotes"},
      {"{\"n_mels\"", "a colon"},
      {"{\"n_mels\":", "a string, a number"},
      {"{\"n_mels\": 40", "',' or '}'"},
      {"{\"n_mels\": 40,", "a name in double quotes"},
      {"{\"n_mels\": 40,}", "'}' stands here, where a name"},
      {"{,}", "a name in double quotes"},
      {"{n_mels: 40}", "a name in double quotes"},
      {"{'n_mels': 40}", "a name in double quotes"},
      {"{\"n_mels\" 40}", "'4' stands here, where a colon"},
      {"{\"n_mels\": 40 \"low_hz\": 20}", "',' or '}'"},
      {"{\"n_mels\": 40}}", "'}' stands here, where the end"},
      {"{\"n_mels\": 40}\n\n {}", "line 3, column 2"},
      {"{} x", "'x' stands here, where the end"},
      {"{/* bands */\"n_mels\": 40}", "'/' stands here"},
      /* names */
      {"{\"n_fft\": 512}", "\"n_fft\" is no option"},
      {"{\"\": 512}", "is no option"},
      {"{\"N_MELS\": 40}", "is no option"},
      {"{\"n_mels \": 40}", "is no option"},
      {"{\"size\": 40}", "is no option"},
      {"{\n  \"front_end\": {}}", "line 2, column 3: \"front_end\" is no option"},
      {"{\"n_mels\": 40, \"n_mels\": 40}", "line 1, column 16: \"n_mels\" is given a second time"},
      {"{\"n_m\\u0065ls\": 40}", "'\\' stands here"},
      {"{\"caf\xC3\xA9\": 40}", "\"caf??\" is no option"},
      {"{\"a_name_that_is_longer_than_any_message_wants_to_quote\": 40}", "a_name_that_is_longer_than_any_message_"},
      /* strings */
      {"{\"window\": \"hann", "a closing double quote"},
      {"{\"window\": \"ha\nnn\"}", "byte 0x0A stands here"},
      {"{\"window\": \"h\\\"ann\"}", "escape"},
      {"{\"window\": \"kaiser\"}", "column 12: window is \"kaiser\", but must be \"povey\", \"hamming\""},
      {"{\"window\": \"\"}", "window is \"\""},
      {"{\"window\": 3}", "window is 3"},
      {"{\"window\": null}", "window is null"},
      {"{\"window\": true}", "window is true"},
      {"{\"preset\": \"espnet\"}", "\"kaldi\", \"kaldi-hamming\", \"htk\", \"psf\", \"torchaudio\" or \"librosa\""},
      /* numbers */
      {"{\"n_mels\": 40.0}", "n_mels is 40.0, but must be a whole number"},
      {"{\"n_mels\": 4e1}", "whole number"},
      {"{\"n_mels\": 4294967336}", "whole number of 32 bits"},
      {"{\"n_mels\": 99999999999999999999999999999999999999999999}", "9999..., but must be a whole number of 32 bits"},
      {"{\"n_mels\": \"40\"}", "n_mels is \"40\""},
      {"{\"n_mels\": null}", "n_mels is null"},
      {"{\"n_mels\": true}", "n_mels is true"},
      {"{\"n_mels\": 040}", "'4' stands here, where ',' or '}'"},
      {"{\"n_mels\": +40}", "'+' stands here"},
      {"{\"n_mels\": -}", "'}' stands here, where a digit"},
      {"{\"low_hz\": .5}", "'.' stands here"},
      {"{\"low_hz\": 5.}", "a digit"},
      {"{\"low_hz\": 5e}", "a digit"},
      {"{\"low_hz\": 5e+}", "a digit"},
      {"{\"low_hz\": 0x10}", "'x' stands here"},
      {"{\"low_hz\": 1,5}", "a name in double quotes"},
      {"{\"low_hz\": 1e999}", "the range of a double"},
      {"{\"low_hz\": NaN}", "'N' stands here"},
      {"{\"low_hz\": nan}", "'a' stands here, where null"},
      {"{\"low_hz\": Infinity}", "'I' stands here"},
      {"{\"low_hz\": -Infinity}", "a digit"},
      {"{\"low_hz\": \"20\"}", "low_hz is \"20\", but must be a number"},
      {"{\"top_db\": \"off\"}", "a number, or null"},
      {"{\"hop_seconds\": null}", "hop_seconds is null"},
      /* true and false */
      {"{\"deltas\": 1}", "deltas is 1, but must be true or false"},
      {"{\"deltas\": True}", "'T' stands here"},
      {"{\"deltas\": tru}", "'}' stands here, where true"},
      {"{\"deltas\": truely}", "'l' stands here"},
      {"{\"deltas\": null}", "deltas is null"},
      /* nesting */
      {"{\"window\": {\"name\": \"hann\"}}", "options do not nest"},
      {"{\"window\": [\"hann\"]}", "options do not nest"},
      /* out of range, as satn_frontend_plan_create has it */
      {"{\"n_mels\": 0}", "n_mels is 0"},
      {"{\"sample_rate\": 1}", "sample_rate is 1"},
      {"{\"sample_rate\": 8000, \"high_hz\": 8000}", "high_hz is 8000"},
      {"{\"top_db\": 80}", "top_db is 80"},
      {"{\"fft_size\": 500}", "fft_size is 500"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    refused(bad[i][0], strlen(bad[i][0]), bad[i][1]);
  }
  refused("{}", 3, "byte 0x00 stands here, where the end");
}

/* Every beginning of a good text is refused: it is only good whole. */
static void test_truncated_text(void) {
  const satn_frontend_options options = preset(SATN_FRONTEND_TORCHAUDIO);
  char json[SATN_FRONTEND_JSON_SIZE];
  size_t length = 0;
  CHECK(satn_frontend_options_to_json(&options, json, sizeof json, &length, message, sizeof message) == 0);
  for (size_t kept = 0; kept < length; ++kept) {
    refused(json, kept, "the text ends here");
  }
}

static void test_bad_arguments(void) {
  satn_frontend_options options = preset(SATN_FRONTEND_KALDI);
  const int wrong = SATN_FRONTEND_ERROR_ARGUMENT;
  char json[8];
  size_t length = 7;
  CHECK(satn_frontend_options_from_json(NULL, "{}", 2, message, sizeof message) == wrong);
  CHECK(satn_frontend_options_from_json(&options, NULL, 0, message, sizeof message) == wrong);
  CHECK(satn_frontend_options_to_json(NULL, json, sizeof json, &length, message, sizeof message) == wrong);
  CHECK(satn_frontend_options_to_json(&options, NULL, 8, &length, message, sizeof message) == wrong);
  CHECK(satn_frontend_options_to_json(&options, json, sizeof json, NULL, message, sizeof message) == wrong);
  options.window = 77;
  CHECK(satn_frontend_options_to_json(&options, json, sizeof json, &length, message, sizeof message) ==
        SATN_FRONTEND_ERROR_OPTIONS);
  CHECK(strstr(message, "window is 77") != NULL);
  options.size = 8;
  CHECK(satn_frontend_options_from_json(&options, "{}", 2, message, sizeof message) == wrong);
  CHECK(satn_frontend_options_to_json(&options, json, sizeof json, &length, message, sizeof message) == wrong);
  CHECK(length == 7);
}

/* A language that writes 0,025 changes nothing. */
static void test_locale(void) {
  if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL && setlocale(LC_ALL, "de_DE.utf8") == NULL) {
    return; /* not installed here */
  }
  test_what_is_written_is_read();
  setlocale(LC_ALL, "C");
}

int main(void) {
  test_presets_and_overrides();
  test_what_is_written_is_read();
  test_capacity();
  test_bad_text();
  test_truncated_text();
  test_bad_arguments();
  test_locale();
  if (failures > 0) {
    fprintf(stderr, "%d checks failed\n", failures);
    return 1;
  }
  puts("all checks passed");
  return 0;
}
