// One block of memory for an object and all its arrays: its size is known before it is made, and whoever has no heap
// provides it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "span.hpp"
#include "status.hpp"

namespace satn::frontend {

// Of every block and of every array in it: a line of the cache, and the widest vector register.
constexpr std::size_t kMemoryAlignment = SATN_FRONTEND_MEMORY_ALIGNMENT;

// Deals out a block, array after array. Without a block it measures: the constructor that lays an object out runs once
// with either, so that the two cannot disagree. A constructor computes nothing while its arena measures.
class Arena {
 public:
  Arena() = default;
  explicit Arena(void* block) : block_(static_cast<unsigned char*>(block)) {}

  bool measures() const { return block_ == nullptr; }
  std::size_t used() const { return used_; }

  void skip(std::size_t bytes) { used_ += (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment; }

  // `count` zeros; no memory while it measures.
  template <class T>
  Span<T> take(std::size_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kMemoryAlignment);
    T* first = measures() ? nullptr : reinterpret_cast<T*>(block_ + used_);
    skip(count * sizeof(T));
    if (!measures()) {
      std::uninitialized_value_construct_n(first, count);
    }
    return Span<T>(first, count);
  }

 private:
  unsigned char* block_ = nullptr;
  std::size_t used_ = 0;
};

template <class Object>
class Shared;

// Base of an object that stands at the start of a block and lives as long as a Shared points to it.
class Counted {
 public:
  Counted() = default;
  Counted(const Counted&) = delete;
  Counted(Counted&&) = delete;
  Counted& operator=(const Counted&) = delete;
  Counted& operator=(Counted&&) = delete;

 protected:
  ~Counted() = default;

 private:
  template <class Object>
  friend class Shared;

  // Neither is part of what the object is: a plan that everybody sees as const is counted and freed.
  mutable std::atomic<std::uint32_t> count_{1};
  // Null where the caller provided the block. Called through a pointer so that programs which make no object on the
  // heap are linked without one.
  mutable void (*free_)(void* block) = nullptr;
};

// Its one assignment takes copies and moves alike.
template <class Object>
class Shared {  // NOLINT(cppcoreguidelines-special-member-functions)
 public:
  Shared() = default;
  Shared(const Shared& other) : Shared(other.object_) {}
  Shared(Shared&& other) noexcept : object_(other.detach()) {}
  Shared& operator=(Shared other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Shared() {
    if (object_ != nullptr && object_->count_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      const auto free = object_->free_;
      void* const block = const_cast<std::remove_const_t<Object>*>(object_);
      object_->~Object();
      if (free != nullptr) {
        free(block);
      }
    }
  }

  // One more that points to an object.
  explicit Shared(Object* object) : object_(object) {
    if (object_ != nullptr) {
      object_->count_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  // Takes over from a pointer that `detach` gave; either may be null.
  static Shared attach(Object* object) {
    Shared shared;
    shared.object_ = object;
    return shared;
  }
  Object* detach() { return std::exchange(object_, nullptr); }

  Object* operator->() const { return object_; }
  Object& operator*() const { return *object_; }

  // What an object made from these arguments needs, itself included. `Object` has a constructor that takes an arena
  // and the arguments.
  template <class... Arguments>
  static std::size_t bytes(const Arguments&... arguments) {
    Arena arena;
    arena.skip(sizeof(Object));
    const Object measured(arena, arguments...);
    return arena.used();
  }

  // Makes an object on the heap, by one allocation.
  template <class... Arguments>
  Status create(const Arguments&... arguments) {
    const std::size_t needed = bytes(arguments...);
    void* block = ::operator new(needed, std::align_val_t(kMemoryAlignment), std::nothrow);
    if (block == nullptr) {
      return Status::error(SATN_FRONTEND_ERROR_MEMORY, "out of memory: %zu bytes were asked for", needed);
    }
    construct(block, arguments...);
    object_->free_ = [](void* made) { ::operator delete(made, std::align_val_t(kMemoryAlignment)); };
    return {};
  }

  // Makes it in the caller's memory, which must outlive it.
  template <class... Arguments>
  Status create_in(Span<unsigned char> memory, const Arguments&... arguments) {
    if (reinterpret_cast<std::uintptr_t>(memory.data()) % kMemoryAlignment != 0) {
      return Status::error(SATN_FRONTEND_ERROR_ARGUMENT,
                           "memory does not start at a multiple of %zu bytes: align it to "
                           "SATN_FRONTEND_MEMORY_ALIGNMENT",
                           kMemoryAlignment);
    }
    const std::size_t needed = bytes(arguments...);
    if (memory.size() < needed) {
      return Status::error(SATN_FRONTEND_ERROR_MEMORY, "memory has %zu bytes, but %zu are needed: provide more",
                           memory.size(), needed);
    }
    construct(memory.data(), arguments...);
    return {};
  }

 private:
  template <class... Arguments>
  void construct(void* block, const Arguments&... arguments) {
    Arena arena(block);
    arena.skip(sizeof(Object));
    *this = attach(::new (block) Object(arena, arguments...));
  }

  Object* object_ = nullptr;
};

}  // namespace satn::frontend
