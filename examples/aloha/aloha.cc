#include "aloha.h"

#include <limits>

#include "ballast.h"
#include "error.h"
#include "quantity.h"
#include "text.h"

namespace aloha {

namespace {

SimTime positiveTime(const RunConfig &run, const std::string &path)
{
    const SimTime time = fromSeconds(run.parameter(path, "s"));
    if (time <= SimTime::zero())
        throw Error("Parameter '" + path + "' is not positive");
    return time;
}

std::string hostPath(int index)
{
    return "Aloha.host[" + std::to_string(index) + "]";
}

// The mean of "exponential(2s)", the one distribution that this model knows.
double parseExponential(const std::string &path, const std::string &text)
{
    const std::string prefix = "exponential(";
    if (!startsWith(text, prefix) || text.back() != ')')
        throw Error("Parameter '" + path + "' is '" + text + "' instead of exponential(...)");
    const double mean = parseQuantity(text.substr(prefix.size(), text.size() - prefix.size() - 1), "s");
    if (mean <= 0)
        throw Error("Parameter '" + path + "' is not positive");
    return mean;
}

double ratio(SimTime part, SimTime whole)
{
    return whole == SimTime::zero() ? 0 : toSeconds(part) / toSeconds(whole);
}

}  // namespace

Server::Server(Simulation &simulation, const RunConfig &run, VectorWriter &vectors)
    : Module(simulation, "Server", "Aloha.server"),
      sampleInterval_(positiveTime(run, "Aloha.server.sampleInterval")),
      maxLoad_(run.parameter("Aloha.server.maxLoad", "", std::numeric_limits<double>::infinity())),
      vectors_(vectors),
      loadVector_(vectors.addVector(path(), "offeredLoad:vector", {{"title", "offered load"}})),
      utilizationVector_(
          vectors.addVector(path(), "channelUtilization:vector", {{"title", "channel utilization"}}))
{
    simulation.schedule(*this, sampleInterval_);
}

void Server::beginFrame(SimTime airtime)
{
    total_.offered += airtime;
    ++framesInTheAir_;
    ++framesOfBurst_;
}

void Server::endFrame(SimTime airtime)
{
    if (--framesInTheAir_ > 0)
        return;
    if (framesOfBurst_ == 1) {
        ++receivedFrames_;
        total_.received += airtime;
    }
    else {
        collidedFrames_ += framesOfBurst_;
        collisionMultiplicity_.collect(framesOfBurst_);
    }
    framesOfBurst_ = 0;
}

void Server::handleEvent()
{
    const double load = ratio(total_.offered - atLastSample_.offered, sampleInterval_);
    vectors_.record(loadVector_, load);
    vectors_.record(utilizationVector_, ratio(total_.received - atLastSample_.received, sampleInterval_));
    atLastSample_ = total_;

    if (load > maxLoad_)
        throw Error("Channel overloaded: offered load " + formatNumber(load, 3) + " in the last " +
                         toString(sampleInterval_) + "s exceeds maxLoad=" + formatNumber(maxLoad_, 3));
    simulation().schedule(*this, simulation().now() + sampleInterval_);
}

void Server::finish(ScalarWriter &scalars) const
{
    const SimTime duration = simulation().now();
    scalars.scalar(path(), "duration", toSeconds(duration), "simulated time");
    scalars.scalar(path(), "offeredLoad:last", ratio(total_.offered, duration), "offered load, last");
    scalars.scalar(path(), "channelUtilization:last", ratio(total_.received, duration),
                   "channel utilization, last");
    scalars.scalar(path(), "receivedFrames:last", static_cast<double>(receivedFrames_),
                   "received frames, last");
    scalars.scalar(path(), "collidedFrames:last", static_cast<double>(collidedFrames_),
                   "collided frames, last");
    scalars.histogram(path(), "collisionMultiplicity:histogram", collisionMultiplicity_,
                      "collision multiplicity");
}

Host::Host(Simulation &simulation, int index, const RunConfig &run, Server &server)
    : Module(simulation, "Host", hostPath(index)), server_(server),
      meanThinkTime_(parseExponential(path() + ".iaTime", run.parameter(path() + ".iaTime"))),
      slotTime_(fromSeconds(run.parameter("Aloha.slotTime", "s"))),
      frameTime_(fromSeconds(run.parameter(path() + ".pkLenBits", "b") /
                             run.parameter("Aloha.txRate", "bps"))),
      // Whoever sends in the same slot collides, however short the frame.
      airtime_(slotTime_ > SimTime::zero() ? slotTime_ : frameTime_)
{
    if (frameTime_ > airtime_)
        throw Error("A frame of " + toString(frameTime_) + "s does not fit into a slot of " +
                          toString(slotTime_) + "s");
    scheduleNextFrame();
}

void Host::handleEvent()
{
    if (transmitting_)
        endFrame();
    else
        beginFrame();
}

void Host::beginFrame()
{
    transmitting_ = true;
    ++sentFrames_;
    server_.beginFrame(airtime_);
    simulation().schedule(*this, simulation().now() + frameTime_);
}

void Host::endFrame()
{
    transmitting_ = false;
    server_.endFrame(airtime_);
    scheduleNextFrame();
}

void Host::scheduleNextFrame()
{
    SimTime start = simulation().now() + fromSeconds(simulation().random().exponential(meanThinkTime_));
    if (slotTime_ > SimTime::zero())
        start = (start / slotTime_ + 1) * slotTime_;
    simulation().schedule(*this, start);
}

void Host::finish(ScalarWriter &scalars) const
{
    scalars.scalar(path(), "sentFrames:last", static_cast<double>(sentFrames_), "sent frames, last");
}

AlohaNetwork::AlohaNetwork(Simulation &simulation, const RunConfig &run, VectorWriter &vectors,
                           std::ostream &log)
    : run_(run), server_(simulation, run, vectors)
{
    const int hosts = static_cast<int>(run.parameter("Aloha.numHosts", ""));
    for (int i = 0; i < hosts; ++i)
        hosts_.push_back(std::make_unique<Host>(simulation, i, run, server_));
    ballast_ = createBallast(simulation, run, vectors, log);
}

void AlohaNetwork::finish(ScalarWriter &scalars) const
{
    for (const char *name : {"numHosts", "txRate", "slotTime"})
        scalars.parameter("Aloha", name, run_.parameter(std::string("Aloha.") + name));
    server_.finish(scalars);
    for (const auto &host : hosts_) {
        for (const char *name : {"pkLenBits", "iaTime"})
            scalars.parameter(host->path(), name, run_.parameter(host->path() + "." + name));
        host->finish(scalars);
    }
}

}  // namespace aloha
