// The -r option: "1,2,5-10", "2..6", or a condition on the iteration variables.

#pragma once

#include <string>
#include <vector>

#include "configuration.h"

namespace aloha {

// The numbers of the selected runs, in the order asked for; an empty filter selects all runs.
std::vector<int> selectRuns(const std::string &filter, const Configuration &configuration);

}  // namespace aloha
