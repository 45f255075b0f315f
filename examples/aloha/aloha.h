// The model: hosts that send frames to one server over a shared channel, without any coordination
// (pure ALOHA), or only at the beginnings of time slots (slotted ALOHA).
//
// A host thinks for a random time, sends a frame, thinks again, and so on. The server receives a
// frame if no other frame overlaps it.

#pragma once

#include <memory>
#include <ostream>
#include <vector>

#include "result_writer.h"
#include "run_config.h"
#include "simulation.h"

namespace aloha {

// The receiving end of the channel, where frames collide. Its own events are the samples of its
// vectors.
class Server : public Module {
  public:
    Server(Simulation &simulation, const RunConfig &run, VectorWriter &vectors);

    // A frame counts with its airtime: for how long it keeps the channel from being useful to others.
    void beginFrame(SimTime airtime);
    void endFrame(SimTime airtime);

    void handleEvent() override;
    void finish(ScalarWriter &scalars) const;

  private:
    struct Airtime {
        SimTime offered{0};   // of all frames
        SimTime received{0};  // of those without a collision
    };

    const SimTime sampleInterval_;
    const double maxLoad_;
    VectorWriter &vectors_;
    const int loadVector_;
    const int utilizationVector_;

    Airtime total_;
    Airtime atLastSample_;
    std::uint64_t receivedFrames_ = 0;
    std::uint64_t collidedFrames_ = 0;
    Histogram collisionMultiplicity_;

    // A burst lasts from one idle moment of the channel to the next. If it has several frames, each
    // of them overlaps another one.
    int framesInTheAir_ = 0;
    int framesOfBurst_ = 0;
};

class Host : public Module {
  public:
    Host(Simulation &simulation, int index, const RunConfig &run, Server &server);

    void handleEvent() override;
    void finish(ScalarWriter &scalars) const;

  private:
    void scheduleNextFrame();
    void beginFrame();
    void endFrame();

    Server &server_;
    const double meanThinkTime_;
    const SimTime slotTime_;  // zero in pure ALOHA
    const SimTime frameTime_;
    const SimTime airtime_;
    bool transmitting_ = false;
    std::uint64_t sentFrames_ = 0;
};

class AlohaNetwork {
  public:
    AlohaNetwork(Simulation &simulation, const RunConfig &run, VectorWriter &vectors, std::ostream &log);

    // To be called at the end of a run: records its results.
    void finish(ScalarWriter &scalars) const;

  private:
    const RunConfig &run_;
    Server server_;
    std::vector<std::unique_ptr<Host>> hosts_;
    std::vector<std::unique_ptr<Module>> ballast_;
};

}  // namespace aloha
