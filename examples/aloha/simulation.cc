#include "simulation.h"

#include <cmath>

#include "error.h"
#include "text.h"

namespace aloha {

namespace {

constexpr std::int64_t nanosecondsPerSecond = 1'000'000'000;

}  // namespace

SimTime fromSeconds(double seconds)
{
    const double nanoseconds = std::round(seconds * nanosecondsPerSecond);
    // Negated, so that it is also true of what is not a number at all.
    if (!(std::abs(nanoseconds) < static_cast<double>(SimTime::max().count())))
        throw Error("Simulation time " + formatNumber(seconds, 6) + "s is out of range");
    return SimTime(static_cast<std::int64_t>(nanoseconds));
}

double toSeconds(SimTime time)
{
    return std::chrono::duration<double>(time).count();
}

std::string toString(SimTime time)
{
    std::string text = std::to_string(time.count() / nanosecondsPerSecond);
    if (const std::int64_t fraction = time.count() % nanosecondsPerSecond; fraction != 0) {
        const std::string digits = std::to_string(fraction);
        text += "." + std::string(9 - digits.size(), '0') + digits;
        text.erase(text.find_last_not_of('0') + 1);
    }
    return text;
}

Module::Module(Simulation &simulation, std::string type, std::string path)
    : simulation_(simulation), type_(std::move(type)), path_(std::move(path)),
      id_(simulation.newModuleId())
{
}

void Simulation::schedule(Module &target, SimTime when)
{
    queue_.push({when, scheduledEvents_++, &target});
}

void Simulation::executeNextEvent()
{
    const Event event = queue_.top();
    queue_.pop();
    now_ = event.time;
    ++eventNumber_;
    try {
        event.target->handleEvent();
    }
    catch (const Error &error) {
        const Module &module = *event.target;
        throw Error(std::string(error.what()) + " -- in module (aloha::" + module.type() + ") " +
                    module.path() + " (id=" + std::to_string(module.id()) + "), at t=" +
                    toString(now_) + "s, event #" + std::to_string(eventNumber_));
    }
}

}  // namespace aloha
