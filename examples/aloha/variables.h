// ${...} in ini values: iteration variables such as ${numHosts=10,15,20}, and references to them.

#pragma once

#include <string>
#include <utility>
#include <vector>

namespace aloha {

// Names with their values, in order of definition.
using Variables = std::vector<std::pair<std::string, std::string>>;

// Null if there is no variable of that name.
const std::string *findVariable(const Variables &variables, const std::string &name);

struct IterationVariable {
    std::string name;
    std::vector<std::string> values;
};

// The iteration variables that a value defines.
std::vector<IterationVariable> iterationVariablesIn(const std::string &text);

// The text with each ${name} and ${name=...} replaced with the value of that variable.
std::string expand(const std::string &text, const Variables &variables);

// Whether the text depends on any of the variables.
bool mentionsAny(const std::string &text, const Variables &variables);

}  // namespace aloha
