// Random numbers that do not depend on the C++ library: the standard defines the output of the
// generator bit by bit, but leaves the distributions to each library. So they are written out here.

#pragma once

#include <cmath>
#include <cstdint>
#include <random>

namespace aloha {

class Random {
  public:
    explicit Random(std::uint64_t seed) : generator_(seed) {}

    // In [0, 1), with all 53 bits that a double can hold.
    double uniform() { return static_cast<double>(generator_() >> 11) * 0x1p-53; }

    double exponential(double mean) { return -mean * std::log1p(-uniform()); }

  private:
    std::mt19937_64 generator_;
};

}  // namespace aloha
