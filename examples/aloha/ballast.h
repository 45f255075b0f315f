// Not part of ALOHA: modules that make a run write a long log or a big vector file, to find out how
// the surroundings of a simulation cope with that.

#pragma once

#include <memory>
#include <ostream>
#include <vector>

#include "result_writer.h"
#include "run_config.h"
#include "simulation.h"

namespace aloha {

// What the parameters Aloha.numLines and Aloha.vectorMegabytes ask for; nothing by default.
std::vector<std::unique_ptr<Module>> createBallast(Simulation &simulation, const RunConfig &run,
                                                   VectorWriter &vectors, std::ostream &log);

}  // namespace aloha
