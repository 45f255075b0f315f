#include "quantity.h"

#include <string>

#include "error.h"
#include "text.h"

namespace aloha {

namespace {

struct Unit {
    std::string_view name;
    std::string_view base;
    double factor;
};

constexpr Unit units[] = {
    {"", "", 1},        {"s", "s", 1},         {"ms", "s", 1e-3},     {"us", "s", 1e-6},
    {"ns", "s", 1e-9},  {"min", "s", 60},      {"h", "s", 3600},      {"d", "s", 86400},
    {"b", "b", 1},      {"B", "b", 8},         {"bps", "bps", 1},     {"kbps", "bps", 1e3},
    {"Mbps", "bps", 1e6}, {"Gbps", "bps", 1e9},
};

}  // namespace

double parseQuantity(std::string_view text, std::string_view baseUnit)
{
    const std::string_view quantity = trim(text);
    // The exponent of "1e-6s" belongs to the number, so the unit is what follows the last digit.
    const size_t unitStart = quantity.find_last_of("0123456789.") + 1;
    const std::string_view unitName = trim(quantity.substr(unitStart));

    double number = 0;
    if (parseNumber(quantity.substr(0, unitStart), number))
        for (const Unit &unit : units)
            if (unit.name == unitName && unit.base == baseUnit)
                return number * unit.factor;

    const std::string expected = baseUnit.empty() ? "a number" : "a number of " + std::string(baseUnit);
    throw Error("'" + std::string(quantity) + "' is not " + expected);
}

}  // namespace aloha
