// The event kernel: simulated time, modules, and the queue of future events.

#pragma once

#include <chrono>
#include <cstdint>
#include <queue>
#include <string>
#include <vector>

#include "random.h"

namespace aloha {

// Whole nanoseconds, so that sums of times are exact.
using SimTime = std::chrono::nanoseconds;

SimTime fromSeconds(double seconds);
double toSeconds(SimTime time);

// Decimal seconds without trailing zeros: "12.05".
std::string toString(SimTime time);

class Simulation;

// An active part of the model: it is called at the times for which it was scheduled.
class Module {
  public:
    Module(Simulation &simulation, std::string type, std::string path);
    virtual ~Module() = default;
    Module(const Module &) = delete;
    Module &operator=(const Module &) = delete;

    virtual void handleEvent() = 0;

    const std::string &type() const { return type_; }
    const std::string &path() const { return path_; }
    int id() const { return id_; }

  protected:
    Simulation &simulation() const { return simulation_; }

  private:
    Simulation &simulation_;
    const std::string type_;
    const std::string path_;
    const int id_;
};

class Simulation {
  public:
    explicit Simulation(std::uint64_t seed) : random_(seed) {}

    SimTime now() const { return now_; }
    std::uint64_t eventNumber() const { return eventNumber_; }
    std::uint64_t scheduledEvents() const { return scheduledEvents_; }
    size_t pendingEvents() const { return queue_.size(); }
    Random &random() { return random_; }

    void schedule(Module &target, SimTime when);

    // These three need an event in the queue. A network always has one: its server samples for ever.
    SimTime nextEventTime() const { return queue_.top().time; }
    const Module &nextModule() const { return *queue_.top().target; }
    void executeNextEvent();  // adds to an error in which module it happened, and when

    // Moves the clock to the end of a simulation whose next event lies beyond it.
    void advanceTo(SimTime end) { now_ = end; }

    int newModuleId() { return ++lastModuleId_; }

  private:
    struct Event {
        SimTime time;
        std::uint64_t order;  // events of the same time happen in the order of their scheduling
        Module *target;
    };

    struct Later {
        bool operator()(const Event &a, const Event &b) const
        {
            return a.time != b.time ? a.time > b.time : a.order > b.order;
        }
    };

    std::priority_queue<Event, std::vector<Event>, Later> queue_;
    SimTime now_{0};
    std::uint64_t eventNumber_ = 0;
    std::uint64_t scheduledEvents_ = 0;
    int lastModuleId_ = 1;  // 1 is the network itself
    Random random_;
};

}  // namespace aloha
