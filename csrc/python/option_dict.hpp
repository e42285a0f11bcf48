// Options to and from the dictionaries that Python has, and its exceptions from statuses.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "option_fields.hpp"
#include "options.hpp"
#include "status.hpp"

namespace satn::python {

namespace py = pybind11;
namespace core = satn::frontend;

using core::Options;
using core::Status;

// `name`, where there is one, opens the message.
[[noreturn]] inline void raise(const Status& status, const std::string& name) {
  const std::string message = name.empty() ? status.message() : name + ": " + status.message();
  switch (status.code()) {
    case SATN_FRONTEND_ERROR_FINISHED:
      throw std::runtime_error(message);
    case SATN_FRONTEND_ERROR_MEMORY:
      throw std::bad_alloc();
    default:
      throw py::value_error(message);
  }
}

[[noreturn]] inline void refuse(const std::string& name, const py::handle& value, const std::string& remedy) {
  throw py::value_error(name + " is " + std::string(py::repr(value)) + ", but must be " + remedy);
}

inline void read(const char* name, const py::handle& value, bool& field) {
  // numpy's bool, whose name is bool_ before numpy 2, is as good as Python's.
  const std::string type = py::str(py::type::of(value).attr("__name__"));
  if (type != "bool" && type != "bool_") {
    refuse(name, value, "True or False");
  }
  field = value.cast<bool>();
}

inline void read(const char* name, const py::handle& value, std::int32_t& field) {
  const py::object index =
      py::isinstance<py::bool_>(value) ? py::object() : py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  const long long number = index ? PyLong_AsLongLong(index.ptr()) : 0;
  if (!index || PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    refuse(name, value, "a whole number");
  }
  if (number < std::numeric_limits<std::int32_t>::min() || number > std::numeric_limits<std::int32_t>::max()) {
    refuse(name, value, "a whole number of 32 bits");
  }
  field = static_cast<std::int32_t>(number);
}

inline void read(const char* name, const py::handle& value, double& field) {
  const double number =
      py::isinstance<py::bool_>(value) || py::isinstance<py::str>(value) ? -1.0 : PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() != nullptr || py::isinstance<py::bool_>(value) || py::isinstance<py::str>(value)) {
    PyErr_Clear();
    refuse(name, value, "a number");
  }
  field = number;
}

template <class Enum, class = std::enable_if_t<std::is_enum_v<Enum>>>
void read(const char* name, const py::handle& value, Enum& field) {
  std::string known;
  for (std::size_t i = 0; i < core::kNames<Enum>.size(); ++i) {
    const std::string choice = core::kNames<Enum>[i];
    if (py::isinstance<py::str>(value) && value.cast<std::string>() == choice) {
      field = static_cast<Enum>(i);
      return;
    }
    known += (i == 0 ? "one of '" : ", '") + choice + "'";
  }
  refuse(name, value, known);
}

inline py::dict to_dict(const Options& options) {
  py::dict result;
  core::for_each_field([&](const auto& field) {
    const auto value = options.*field.in_core;
    using Value = typename std::decay_t<decltype(field)>::Type;
    if (field.is_null(value)) {
      result[field.name] = py::none();
    } else if constexpr (std::is_enum_v<Value>) {
      result[field.name] = core::kNames<Value>[static_cast<std::size_t>(value)];
    } else {
      result[field.name] = value;
    }
  });
  return result;
}

inline Options preset_options(const py::object& preset, const py::object& sample_rate, const py::object& n_mels) {
  Options options;
  core::Preset chosen{};
  std::int32_t rate = 0;
  std::int32_t bands = 0;
  read("preset", preset, chosen);
  read("sample_rate", sample_rate, rate);
  read("n_mels", n_mels, bands);
  const Status status = core::preset_options(static_cast<std::int32_t>(chosen), rate, bands, options);
  if (!status.ok()) {
    raise(status, "");
  }
  return options;
}

// The preset that `given` names, with every other entry of `given` applied to it.
inline Options options_from(const py::dict& given) {
  Options options = preset_options(given["preset"], given["sample_rate"], given["n_mels"]);
  core::for_each_field([&](const auto& field) {
    if (!given.contains(field.name)) {
      return;
    }
    const py::object value = given[field.name];
    if (value.is_none() && field.null != core::Null::refused) {
      options.*field.in_core = field.null_value();
    } else {
      read(field.name, value, options.*field.in_core);
    }
  });
  const Status status = core::resolve(options);
  if (!status.ok()) {
    raise(status, "");
  }
  return options;
}

}  // namespace satn::python
