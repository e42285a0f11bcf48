// numpy arrays as spans and back. What is no plain array goes through satn_fast/_arrays.py, which knows the remedies.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "span.hpp"

namespace satn::python {

namespace py = pybind11;
namespace core = satn::frontend;

using core::Span;
using NumpyApi = py::detail::npy_api;

using Samples = std::variant<Span<const float>, Span<const double>, Span<const std::int16_t>>;

// Samples, with what keeps them in memory.
struct Waveform {
  Samples samples;
  py::object owner;

  std::size_t size() const {
    return std::visit([](const auto& span) { return span.size(); }, samples);
  }
};

inline py::object call_arrays_module(const char* function, const py::object& arguments) {
  const py::object module = py::module_::import("satn_fast._arrays");
  return module.attr(function)(*arguments);
}

// The samples of an aligned, contiguous, 1-D array of a known type, where it lies; nothing for any other object. Every
// push passes here, so it asks numpy for no more than it must.
inline std::optional<Samples> samples_in_place(const py::handle& object) {
  if (!NumpyApi::get().PyArray_Check_(object.ptr())) {
    return std::nullopt;
  }
  const auto array = py::reinterpret_borrow<py::array>(object);
  constexpr int readable = static_cast<int>(py::array::c_style) | static_cast<int>(NumpyApi::NPY_ARRAY_ALIGNED_);
  const py::dtype type = array.dtype();
  if (array.ndim() != 1 || (array.flags() & readable) != readable || type.byteorder() != '=') {
    return std::nullopt;
  }
  const void* data = array.data();
  const auto size = static_cast<std::size_t>(array.shape(0));
  switch (type.num()) {
    case NumpyApi::NPY_FLOAT_:
      return Span<const float>(static_cast<const float*>(data), size);
    case NumpyApi::NPY_DOUBLE_:
      return Span<const double>(static_cast<const double*>(data), size);
    case NumpyApi::NPY_SHORT_:
      return Span<const std::int16_t>(static_cast<const std::int16_t*>(data), size);
    default:
      return std::nullopt;
  }
}

enum class Empty { refused, accepted };

// Anything that holds mono audio; copied only where it cannot be read where it lies. `name` is called for its name in
// messages, which is wanted only where something is wrong.
template <class Name>
Waveform waveform_of(const py::handle& object, Empty empty, const Name& name) {
  if (const std::optional<Samples> samples = samples_in_place(object)) {
    Waveform waveform{*samples, py::reinterpret_borrow<py::object>(object)};
    if (waveform.size() > 0 || empty == Empty::accepted) {
      return waveform;
    }
  }
  py::object array = call_arrays_module("as_waveform", py::make_tuple(object, name(), empty == Empty::accepted));
  const std::optional<Samples> samples = samples_in_place(array);
  if (!samples) {
    throw py::type_error("satn_fast._arrays.as_waveform gave no plain array");
  }
  return {*samples, std::move(array)};
}

template <class Real>
Span<Real> values_of(const py::array& array) {
  // Whether the array is writeable was checked when it was made or accepted.
  return {static_cast<Real*>(const_cast<void*>(array.data())), static_cast<std::size_t>(array.size())};
}

// A new array, its values not yet written. py::array_t's constructors first allocate vectors of sizes and strides.
template <class Real>
py::array new_array(std::initializer_list<std::size_t> shape) {
  const NumpyApi& numpy = NumpyApi::get();
  py::ssize_t sizes[3];
  int dimensions = 0;
  for (const std::size_t size : shape) {
    sizes[dimensions++] = static_cast<py::ssize_t>(size);
  }
  PyObject* type =
      numpy.PyArray_DescrFromType_(std::is_same_v<Real, float> ? NumpyApi::NPY_FLOAT_ : NumpyApi::NPY_DOUBLE_);
  PyObject* array =
      numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, type, dimensions, sizes, nullptr, nullptr, 0, nullptr);
  if (array == nullptr) {
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::array>(array);
}

// Where features go: a new array of `shape`, or the caller's, which is larger or as large along the frames, the last
// axis but one.
template <class Real>
class Output {
 public:
  Output(const py::object& out, std::initializer_list<std::size_t> shape)
      : given_(out), frames_(shape.begin()[shape.size() - 2]) {
    if (out.is_none()) {
      array_ = new_array<Real>(shape);
      return;
    }
    py::tuple sizes(shape.size());  // NOLINT(misc-const-correctness): its entries are set
    for (std::size_t i = 0; i < shape.size(); ++i) {
      sizes[i] = shape.begin()[i];
    }
    array_ = call_arrays_module("as_output", py::make_tuple(out, sizes, py::dtype::of<Real>()));
  }

  Span<Real> values() const { return values_of<Real>(array_); }

  // Features are written while samples are read.
  void refuse_overlap(const Waveform& waveform, const std::string& name) const {
    const auto* first = reinterpret_cast<const char*>(values().begin());
    const auto* last = reinterpret_cast<const char*>(values().end());
    const bool overlaps = std::visit(
        [&](const auto& samples) {
          const std::less<> before;
          return before(reinterpret_cast<const char*>(samples.begin()), last) &&
                 before(first, reinterpret_cast<const char*>(samples.end()));
        },
        waveform.samples);
    if (overlaps) {
      throw py::value_error("out shares memory with " + name + ": give it memory of its own");
    }
  }

  // What the caller gets: the new array, or a view of theirs, cut to the frames.
  py::object result() const {
    if (given_.is_none()) {
      return array_;
    }
    const py::slice frames(0, static_cast<py::ssize_t>(frames_), 1);
    if (array_.ndim() == 2) {
      return given_[frames];
    }
    return given_[py::make_tuple(py::slice(0, array_.shape(0), 1), frames)];
  }

 private:
  py::object given_;
  py::array array_;
  std::size_t frames_;
};

}  // namespace satn::python
