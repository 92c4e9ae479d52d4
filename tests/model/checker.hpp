// What a model is written with: thread_list, check() and require(). The engine is in engine.hpp, the policy in model_atomics.hpp.
#pragma once

#include <csignal>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine.hpp"

namespace tern_model {

/// What a model's threads() fills in.
class thread_list {
 public:
  explicit thread_list(checker& c) noexcept : checker_{c} {}
  void add(std::string name, std::function<void()> body) {
    checker_.add_thread(std::move(name), std::move(body));
  }

 private:
  checker& checker_;
};

template <class Model>
result checker::check() {
  // A failed execution's model is not destroyed, since its threads are stuck inside it; it stays reachable for LeakSanitizer.
  static std::vector<Model*>& alive = *new std::vector<Model*>;
  run_model_ = [&] {
    Model* const model = new Model;
    alive.push_back(model);
    thread_list list{*this};
    model->threads(list);
    run_threads();
    if constexpr (requires { model->finally(); }) model->finally();
    alive.pop_back();
    delete model;
  };
  struct sigaction handler{};
  struct sigaction before{};
  handler.sa_handler = &checker::on_abort;
  handler.sa_flags = SA_NODEFER;  // the handler never returns
  ::sigaction(SIGABRT, &handler, &before);
  checker* const outer = active;
  active = this;
  result r;
  explore(r);
  active = outer;
  ::sigaction(SIGABRT, &before, nullptr);
  return r;
}

/// Explores Model within `o` and returns what was found.
template <class Model>
result check(const options& o = {}) {
  checker c{o};
  return c.check<Model>();
}

/// Fails the running execution unless `condition` holds. For models; usable in threads and in finally().
inline void require(bool condition, const char* message, const site& s = site::current()) {
  if (!condition) active->fail(message, s);
}

}  // namespace tern_model
