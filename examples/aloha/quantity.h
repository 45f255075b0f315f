// Numbers with a unit, as they stand in the ini file: "9.6kbps", "90min", "952b".

#pragma once

#include <string_view>

namespace aloha {

// The value of the text in the given base unit: "s", "bps", "b", or "" for a plain number.
double parseQuantity(std::string_view text, std::string_view baseUnit);

}  // namespace aloha
