/* features: log-Mel features of what is heard, by satn_frontend. */
#ifndef FEATURES_H
#define FEATURES_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "satn_frontend.h"

/* (frames, width) values, row by row. */
struct Features {
  std::vector<float> values;
  size_t frames = 0;
};

class FrontEnd {
 public:
  /* `json` is the front_end object of an exported file. Throws Error. */
  explicit FrontEnd(const std::string& json);

  /* Samples in a second. */
  int rate() const { return rate_; }

  /* Samples of the shortest utterance with a frame. */
  size_t frame_length() const { return satn_frontend_frame_length(plan_.get()); }

  /* Values of a frame. */
  size_t width() const { return satn_frontend_feature_count(plan_.get()); }

  /* Features of a whole utterance; no frame, where it is too short for one. */
  Features compute(const std::vector<int16_t>& samples) const;

  /* The frames that these samples complete, of an utterance heard piece by piece. */
  Features push(const std::vector<int16_t>& samples);

  /* The frames that waited for later ones, and the end of the utterance. */
  Features finish();

 private:
  Features rows(size_t count) const;

  struct Destroy {
    void operator()(satn_frontend_plan* plan) const { satn_frontend_plan_destroy(plan); }
    void operator()(satn_frontend_stream* stream) const { satn_frontend_stream_destroy(stream); }
  };
  int rate_ = 0;
  std::unique_ptr<satn_frontend_plan, Destroy> plan_;
  std::unique_ptr<satn_frontend_stream, Destroy> stream_; /* with the first push */
};

#endif
