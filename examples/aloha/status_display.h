// The status lines that Cmdenv prints while a simulation is running.

#pragma once

#include <chrono>
#include <optional>
#include <ostream>
#include <string>

#include "simulation.h"

namespace aloha {

// Which run of how many this process is at.
struct BatchPosition {
    int index;
    int total;
};

class StatusDisplay {
  public:
    using Clock = std::chrono::steady_clock;

    StatusDisplay(std::ostream &out, const Simulation &simulation, std::optional<SimTime> limit,
                  BatchPosition batch, Clock::duration interval);

    // Event number, time and speed; flushed, so that they can be followed from outside.
    void print();

    // The same if the interval has gone by since the last time.
    void printIfDue();

    // One line about the event that comes next, for a run that is not in express mode.
    void printNextEvent();

  private:
    std::string progress() const;

    std::ostream &out_;
    const Simulation &simulation_;
    const std::optional<SimTime> limit_;
    const BatchPosition batch_;
    const Clock::duration interval_;

    // The speed is that since the last status lines.
    struct Point {
        Clock::time_point clock;
        SimTime time;
        std::uint64_t eventNumber;
    };
    const Clock::time_point start_;
    Point last_;
};

}  // namespace aloha
