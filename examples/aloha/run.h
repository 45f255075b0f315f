// Executes one run: from its configuration to its result files.

#pragma once

#include "configuration.h"
#include "status_display.h"

namespace aloha {

enum class Outcome { Successful, Failed, Interrupted };

// From now on, SIGINT and SIGTERM end the simulation properly, with results, rather than the program.
void catchSignals();

// Reports the errors of the run instead of throwing them.
Outcome executeRun(const Configuration &configuration, int number, BatchPosition batch, bool silent);

}  // namespace aloha
