// Conditions on iteration variables: "$numHosts > 10 && ($iaMean < 3 || $repetition == 0)".

#pragma once

#include <string>

#include "variables.h"

namespace aloha {

// Throws Error if the text is no condition, or one on other variables.
bool evaluateCondition(const std::string &text, const Variables &variables);

}  // namespace aloha
