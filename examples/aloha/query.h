// The -q option: questions about the runs of a configuration.

#pragma once

#include <string>
#include <vector>

#include "configuration.h"

namespace aloha {

// Prints the answer about the selected runs. A silent answer is for programs: it has no headings.
void answerQuery(const std::string &query, const Configuration &configuration,
                 const std::vector<int> &selected, bool silent);

}  // namespace aloha
