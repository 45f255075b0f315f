#include "ballast.h"

#include <optional>

#include "error.h"

namespace aloha {

namespace {

// Writes the lines "line 1", "line 2", ... to the log, evenly spread over the simulated time.
class LineWriter : public Module {
  public:
    LineWriter(Simulation &simulation, std::int64_t lines, SimTime duration, std::ostream &log)
        : Module(simulation, "LineWriter", "Aloha.lineWriter"), lines_(lines),
          interval_(duration / lines), log_(log)
    {
        simulation.schedule(*this, interval_);
    }

    void handleEvent() override
    {
        log_ << "line " << ++written_ << '\n';
        if (written_ < lines_)
            simulation().schedule(*this, simulation().now() + interval_);
    }

  private:
    const std::int64_t lines_;
    const SimTime interval_;
    std::ostream &log_;
    std::int64_t written_ = 0;
};

// Makes the vector file grow to the given size, evenly over the simulated time.
class VectorFiller : public Module {
  public:
    VectorFiller(Simulation &simulation, double bytes, SimTime duration, VectorWriter &vectors)
        : Module(simulation, "VectorFiller", "Aloha.vectorFiller"), bytesPerStep_(bytes / steps),
          interval_(duration / steps), vectors_(vectors),
          vector_(vectors.addVector(path(), "filler:vector", {{"title", "filler"}}))
    {
        simulation.schedule(*this, interval_);
    }

    void handleEvent() override
    {
        ++step_;
        while (static_cast<double>(vectors_.size()) < step_ * bytesPerStep_)
            vectors_.record(vector_, value_++);
        if (step_ < steps)
            simulation().schedule(*this, simulation().now() + interval_);
    }

  private:
    static constexpr int steps = 1000;

    const double bytesPerStep_;
    const SimTime interval_;
    VectorWriter &vectors_;
    const int vector_;
    int step_ = 0;
    int value_ = 0;
};

SimTime durationOf(const RunConfig &run)
{
    const std::optional<double> limit = run.seconds("sim-time-limit");
    if (!limit || *limit <= 0)
        throw Error("numLines and vectorMegabytes need a sim-time-limit to spread their output over");
    return fromSeconds(*limit);
}

}  // namespace

std::vector<std::unique_ptr<Module>> createBallast(Simulation &simulation, const RunConfig &run,
                                                   VectorWriter &vectors, std::ostream &log)
{
    std::vector<std::unique_ptr<Module>> ballast;
    if (const auto lines = static_cast<std::int64_t>(run.parameter("Aloha.numLines", "", 0)); lines > 0)
        ballast.push_back(std::make_unique<LineWriter>(simulation, lines, durationOf(run), log));
    if (const double bytes = 1e6 * run.parameter("Aloha.vectorMegabytes", "", 0); bytes > 0)
        ballast.push_back(std::make_unique<VectorFiller>(simulation, bytes, durationOf(run), vectors));
    return ballast;
}

}  // namespace aloha
