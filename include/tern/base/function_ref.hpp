#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include <tern/base/config.hpp>

namespace tern::inline v1::detail {

template <class Signature>
class function_ref;

// A non-owning reference to a callable: two words, no allocation. The callable outlives the call.
template <class R, class... Args>
class function_ref<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, function_ref> && std::is_invocable_r_v<R, F&, Args...>)
  function_ref(
      F&& f) noexcept  // NOLINT(google-explicit-constructor): a reference parameter is what it stands for
      : object_{const_cast<void*>(static_cast<const void*>(std::addressof(f)))},
        call_{[](void* o, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(o))(std::forward<Args>(args)...);
        }} {}

  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

}  // namespace tern::inline v1::detail
