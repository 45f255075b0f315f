#include "run_config.h"

#include <unistd.h>

#include <ctime>

#include "error.h"
#include "quantity.h"

namespace aloha {

namespace {

std::string localTime(std::time_t time, const char *format)
{
    char buffer[40];
    std::strftime(buffer, sizeof buffer, format, std::localtime(&time));
    return buffer;
}

// "$numHosts=10, $iaMean=2" for ("$", ", "); result files use other forms as well.
std::string join(const Variables &variables, const char *prefix, const char *separator)
{
    std::string text;
    for (const auto &[name, value] : variables)
        text += (text.empty() ? "" : separator) + (prefix + name) + "=" + value;
    return text;
}

// A pattern as in ini files: * stands for anything without a dot, ** for anything.
bool matches(const char *pattern, const char *path)
{
    if (*pattern == '\0')
        return *path == '\0';
    if (*pattern != '*')
        return *pattern == *path && matches(pattern + 1, path + 1);

    const bool acrossDots = pattern[1] == '*';
    const char *const rest = pattern + (acrossDots ? 2 : 1);
    for (;; ++path) {
        if (matches(rest, path))
            return true;
        if (*path == '\0' || (*path == '.' && !acrossDots))
            return false;
    }
}

const Entry *findOption(const Entries &entries, const std::string &key)
{
    for (const Entry &entry : entries)
        if (entry.key == key)
            return &entry;
    return nullptr;
}

const Entry *findParameter(const Entries &entries, const std::string &path)
{
    for (const Entry &entry : entries)
        if (matches(entry.key.c_str(), path.c_str()))
            return &entry;
    return nullptr;
}

// Adds to an error which entry it is about.
double parseEntry(const Entry &entry, const std::string &unit)
{
    try {
        return parseQuantity(entry.value, unit);
    }
    catch (const Error &error) {
        throw Error(entry.key + ": " + error.what());
    }
}

}  // namespace

RunConfig::RunConfig(const std::string &configName, const std::string &iniFiles, int number,
                     const Variables &variables, const Entries &entries)
    : iterationVariables_(variables.begin(), variables.end() - 1),
      description_(join(variables, "$", ", "))
{
    setAttributes(configName, iniFiles, number, variables.back().second);

    Variables known = variables;
    known.insert(known.end(), attributes_.begin(), attributes_.end());
    // These two attributes are options, which may mention the other attributes.
    const auto setFromOption = [&](const char *attribute, const char *key, const char *fallback) {
        const Entry *entry = findOption(entries, key);
        attributes_[attribute] = expand(entry != nullptr ? entry->value : fallback, known);
        known.emplace_back(attribute, attributes_[attribute]);
    };
    setFromOption("resultdir", "result-dir", "results");
    setFromOption("seedset", "seed-set", "${runnumber}");

    for (const Entry &entry : entries) {
        entries_.push_back({entry.key, expand(entry.value, known)});
        if (mentionsAny(entry.value, iterationVariables_))
            varyingEntries_.push_back(entries_.back());
    }
}

void RunConfig::setAttributes(const std::string &configName, const std::string &iniFiles, int number,
                              const std::string &repetition)
{
    const std::time_t now = std::time(nullptr);
    const std::string forFileNames = join(iterationVariables_, "", ",");
    attributes_ = {
        {"configname", configName},
        {"datetime", localTime(now, "%Y%m%d-%H:%M:%S")},
        {"datetimef", localTime(now, "%Y%m%d-%H%M%S")},
        {"experiment", configName},
        {"inifile", iniFiles},
        {"iterationvars", join(iterationVariables_, "$", ", ")},
        {"iterationvarsd", join(iterationVariables_, "", "/")},
        {"iterationvarsf", forFileNames.empty() ? "" : forFileNames + "-"},
        {"measurement", join(iterationVariables_, "$", ", ")},
        {"network", "Aloha"},
        {"processid", std::to_string(getpid())},
        {"repetition", repetition},
        {"replication", "#" + repetition},
        {"runnumber", std::to_string(number)},
    };
    runId_ = configName + "-" + attribute("runnumber") + "-" + attribute("datetime") + "-" +
             attribute("processid");
}

std::string RunConfig::option(const std::string &key, const std::string &fallback) const
{
    const Entry *entry = findOption(entries_, key);
    return entry != nullptr ? entry->value : fallback;
}

bool RunConfig::flag(const std::string &key, bool fallback) const
{
    const std::string value = option(key, fallback ? "true" : "false");
    if (value != "true" && value != "false")
        throw Error(key + ": '" + value + "' is neither true nor false");
    return value == "true";
}

std::optional<double> RunConfig::seconds(const std::string &key) const
{
    const Entry *entry = findOption(entries_, key);
    if (entry == nullptr)
        return std::nullopt;
    return parseEntry(*entry, "s");
}

std::string RunConfig::resultFile(const std::string &key, const std::string &suffix) const
{
    return option(key, attribute("resultdir") + "/" + attribute("configname") + "-" +
                           attribute("iterationvarsf") + attribute("replication") + suffix);
}

std::string RunConfig::parameter(const std::string &path) const
{
    const Entry *entry = findParameter(entries_, path);
    if (entry == nullptr)
        throw Error("Parameter '" + path + "' is not assigned");
    return entry->value;
}

double RunConfig::parameter(const std::string &path, const std::string &unit) const
{
    const Entry *entry = findParameter(entries_, path);
    if (entry == nullptr)
        throw Error("Parameter '" + path + "' is not assigned");
    return parseEntry(*entry, unit);
}

double RunConfig::parameter(const std::string &path, const std::string &unit, double fallback) const
{
    const Entry *entry = findParameter(entries_, path);
    return entry != nullptr ? parseEntry(*entry, unit) : fallback;
}

}  // namespace aloha
