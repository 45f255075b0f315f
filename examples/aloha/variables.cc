#include "variables.h"

#include <optional>
#include <string_view>

#include "error.h"
#include "text.h"

namespace aloha {

namespace {

// One ${name} or ${name=values} in a text.
struct Placeholder {
    size_t start;
    size_t end;  // just behind the closing brace
    std::string name;
    std::optional<std::string_view> values;
};

std::optional<Placeholder> findPlaceholder(const std::string &text, size_t from)
{
    const size_t start = text.find("${", from);
    if (start == std::string::npos)
        return std::nullopt;
    const size_t brace = text.find('}', start);
    if (brace == std::string::npos)
        throw Error("Missing '}' in '" + text + "'");

    const std::string_view inside = std::string_view(text).substr(start + 2, brace - start - 2);
    const size_t equals = inside.find('=');
    Placeholder found{start, brace + 1, std::string(trim(inside.substr(0, equals))), std::nullopt};
    if (equals != std::string_view::npos)
        found.values = inside.substr(equals + 1);
    return found;
}

double parseBound(std::string_view text)
{
    double number = 0;
    if (!parseNumber(trim(text), number))
        throw Error("'" + std::string(trim(text)) + "' is no bound or step of a range");
    return number;
}

// "5..9 step 2" stands for 5, 7, 9.
void appendRange(std::string_view range, size_t dots, std::vector<std::string> &values)
{
    const std::string_view rest = range.substr(dots + 2);
    const size_t stepStart = rest.find("step");
    const double first = parseBound(range.substr(0, dots));
    const double last = parseBound(rest.substr(0, stepStart));
    const double step = stepStart == std::string_view::npos ? 1 : parseBound(rest.substr(stepStart + 4));
    if (step <= 0)
        throw Error("The step of the range '" + std::string(range) + "' is not positive");

    // The small share of a step keeps the last value in spite of rounding.
    const int count = static_cast<int>((last - first) / step + 1e-6) + 1;
    for (int i = 0; first <= last && i < count; ++i)
        values.push_back(formatNumber(first + i * step, 6));
}

std::vector<std::string> parseValues(std::string_view list)
{
    std::vector<std::string> values;
    while (true) {
        const size_t comma = list.find(',');
        const std::string_view item = trim(list.substr(0, comma));
        if (const size_t dots = item.find(".."); dots != std::string_view::npos)
            appendRange(item, dots, values);
        else
            values.emplace_back(item);
        if (comma == std::string_view::npos)
            return values;
        list.remove_prefix(comma + 1);
    }
}

}  // namespace

const std::string *findVariable(const Variables &variables, const std::string &name)
{
    for (const auto &[candidate, value] : variables)
        if (candidate == name)
            return &value;
    return nullptr;
}

std::vector<IterationVariable> iterationVariablesIn(const std::string &text)
{
    std::vector<IterationVariable> found;
    size_t position = 0;
    while (const auto placeholder = findPlaceholder(text, position)) {
        if (placeholder->values)
            found.push_back({placeholder->name, parseValues(*placeholder->values)});
        position = placeholder->end;
    }
    return found;
}

std::string expand(const std::string &text, const Variables &variables)
{
    std::string result;
    size_t position = 0;
    while (const auto placeholder = findPlaceholder(text, position)) {
        const std::string *value = findVariable(variables, placeholder->name);
        if (value == nullptr)
            throw Error("Unknown variable ${" + placeholder->name + "}");
        result += text.substr(position, placeholder->start - position) + *value;
        position = placeholder->end;
    }
    return result + text.substr(position);
}

bool mentionsAny(const std::string &text, const Variables &variables)
{
    size_t position = 0;
    while (const auto placeholder = findPlaceholder(text, position)) {
        if (findVariable(variables, placeholder->name) != nullptr)
            return true;
        position = placeholder->end;
    }
    return false;
}

}  // namespace aloha
