// Small helpers for text that several parsers need.

#pragma once

#include <string>
#include <string_view>

namespace aloha {

std::string_view trim(std::string_view text);

bool startsWith(std::string_view text, std::string_view prefix);

// The whole text as a number; false if any part of it is something else.
bool parseNumber(std::string_view text, double &number);

// The whole text as a count (decimal digits only); false if it is anything else.
bool parseCount(std::string_view text, int &count);

// Shortest usual notation with at most the given number of significant digits.
std::string formatNumber(double number, int digits);

}  // namespace aloha
