#pragma once

#include <stdexcept>

namespace aloha {

// Something to tell the user, after which the run, or the whole program, cannot go on.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

}  // namespace aloha
