#include "run_filter.h"

#include <algorithm>
#include <numeric>
#include <string_view>

#include "condition.h"
#include "error.h"
#include "text.h"

namespace aloha {

namespace {

class RunList {
  public:
    RunList(const std::string &list, int runCount) : list_(list), runCount_(runCount) {}

    std::vector<int> parse()
    {
        std::string_view rest = list_;
        while (!rest.empty()) {
            const size_t comma = std::min(rest.find(','), rest.size());
            parseItem(trim(rest.substr(0, comma)));
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
        return numbers_;
    }

  private:
    void parseItem(std::string_view item)
    {
        for (const std::string_view separator : {"..", "-"}) {
            const size_t position = item.find(separator);
            if (position == std::string_view::npos)
                continue;
            const int last = parseNumber(item.substr(position + separator.size()));
            for (int number = parseNumber(item.substr(0, position)); number <= last; ++number)
                add(number);
            return;
        }
        add(parseNumber(item));
    }

    int parseNumber(std::string_view text) const
    {
        int number = 0;
        if (!parseCount(trim(text), number))
            throw Error("Syntax error in run list '" + list_ + "'");
        return number;
    }

    void add(int number)
    {
        if (number >= runCount_)
            throw Error("Run number " + std::to_string(number) + " in run list '" + list_ +
                              "' is out of range 0.." + std::to_string(runCount_ - 1));
        numbers_.push_back(number);
    }

    const std::string &list_;
    const int runCount_;
    std::vector<int> numbers_;
};

bool matches(const std::string &condition, const Variables &variables)
{
    try {
        return evaluateCondition(condition, variables);
    }
    catch (const Error &error) {
        throw Error(std::string("Cannot evaluate run filter: ") + error.what());
    }
}

}  // namespace

std::vector<int> selectRuns(const std::string &filter, const Configuration &configuration)
{
    if (!filter.empty() && filter.find_first_not_of("0123456789,.- ") == std::string::npos)
        return RunList(filter, configuration.runCount()).parse();

    std::vector<int> numbers(configuration.runCount());
    std::iota(numbers.begin(), numbers.end(), 0);
    if (filter.empty())
        return numbers;
    const auto isExcluded = [&](int run) { return !matches(filter, configuration.variables(run)); };
    numbers.erase(std::remove_if(numbers.begin(), numbers.end(), isExcluded), numbers.end());
    return numbers;
}

}  // namespace aloha
