#include "text.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>

namespace aloha {

std::string_view trim(std::string_view text)
{
    constexpr const char *blanks = " \t\r";
    const size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

bool startsWith(std::string_view text, std::string_view prefix)
{
    return text.substr(0, prefix.size()) == prefix;
}

bool parseNumber(std::string_view text, double &number)
{
    // strtod needs a terminated string; from_chars for double is missing before GCC 11.
    const std::string terminated(text);
    char *end = nullptr;
    number = std::strtod(terminated.c_str(), &end);
    return !terminated.empty() && *end == '\0';
}

bool parseCount(std::string_view text, int &count)
{
    if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos)
        return false;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), count);
    return result.ec == std::errc();
}

std::string formatNumber(double number, int digits)
{
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, "%.*g", digits, number);
    return buffer;
}

}  // namespace aloha
