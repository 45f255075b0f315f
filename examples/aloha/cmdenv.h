// The command line environment: answers queries and runs simulations.

#pragma once

#include <string>
#include <vector>

namespace aloha {

// Returns the exit status: 0, or 1 after an error, or 2 if SIGINT or SIGTERM stopped a simulation.
int runCmdenv(const std::vector<std::string> &arguments);

}  // namespace aloha
