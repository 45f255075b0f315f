#include "status_display.h"

#include <cstdio>

#include "text.h"

namespace aloha {

namespace {

// Below that, the speed would be mostly noise.
constexpr double shortestMeasurableSeconds = 0.01;

// Reading the clock takes about as long as an event of this model.
constexpr std::uint64_t eventsBetweenClockReadings = 256;

std::string twoUnits(long seconds)
{
    const bool hours = seconds >= 3600;
    const long small = hours ? seconds / 60 : seconds;
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, hours ? "%ldh %02ldm" : "%ldm %02lds", small / 60, small % 60);
    return buffer;
}

std::string rate(double amount, double per)
{
    return formatNumber(per == 0 ? 0 : amount / per, 6);
}

}  // namespace

StatusDisplay::StatusDisplay(std::ostream &out, const Simulation &simulation, std::optional<SimTime> limit,
                             BatchPosition batch, Clock::duration interval)
    : out_(out), simulation_(simulation), limit_(limit), batch_(batch), interval_(interval),
      start_(Clock::now()), last_{start_, SimTime::zero(), 0}
{
}

void StatusDisplay::print()
{
    const Point now{Clock::now(), simulation_.now(), simulation_.eventNumber()};
    const std::chrono::duration<double> elapsed = now.clock - start_;
    const std::chrono::duration<double> sinceLast = now.clock - last_.clock;

    const bool measurable = sinceLast.count() >= shortestMeasurableSeconds;
    const double seconds = measurable ? sinceLast.count() : 0;
    const double simulated = measurable ? toSeconds(now.time - last_.time) : 0;
    const double events = static_cast<double>(now.eventNumber - last_.eventNumber);

    out_ << "** Event #" << now.eventNumber << "   t=" << toString(now.time)
         << "   Elapsed: " << formatNumber(elapsed.count(), 6) << "s ("
         << twoUnits(static_cast<long>(elapsed.count())) << ")" << progress() << '\n'
         << "     Speed:     ev/sec=" << rate(events, seconds)
         << "   simsec/sec=" << rate(simulated, seconds)
         << "   ev/simsec=" << rate(events, simulated) << '\n'
         << "     Messages:  created: " << simulation_.scheduledEvents()
         << "   present: " << simulation_.pendingEvents()
         << "   in FES: " << simulation_.pendingEvents() << '\n'
         << std::flush;
    last_ = now;
}

void StatusDisplay::printIfDue()
{
    if (simulation_.eventNumber() % eventsBetweenClockReadings != 0)
        return;
    if (Clock::now() - last_.clock >= interval_)
        print();
}

void StatusDisplay::printNextEvent()
{
    const Module &module = simulation_.nextModule();
    out_ << "** Event #" << simulation_.eventNumber() + 1 << "  t=" << toString(simulation_.nextEventTime())
         << progress() << "   " << module.path() << " (" << module.type() << ", id=" << module.id() << ")\n";
}

// Without a time limit there is no telling how far a run has come.
std::string StatusDisplay::progress() const
{
    if (!limit_)
        return "";
    const double done = *limit_ == SimTime::zero() ? 1 : toSeconds(simulation_.now()) / toSeconds(*limit_);
    const double doneOfBatch = (batch_.index + done) / batch_.total;
    return "  " + std::to_string(static_cast<int>(100 * done)) + "% completed  (" +
           std::to_string(static_cast<int>(100 * doneOfBatch)) + "% total)";
}

}  // namespace aloha
