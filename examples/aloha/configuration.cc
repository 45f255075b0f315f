#include "configuration.h"

#include <algorithm>

#include "condition.h"
#include "error.h"
#include "text.h"

namespace aloha {

namespace {

// Every option that means something here, and those that are common but do not matter here. Any
// other one is refused, since silently ignoring a mistyped option would give wrong results.
const char *const knownOptions[] = {
    "cmdenv-autoflush",
    "cmdenv-express-mode",
    "cmdenv-output-file",
    "cmdenv-performance-display",
    "cmdenv-redirect-output",
    "cmdenv-status-frequency",
    "cmdenv-stop-batch-on-error",
    "constraint",
    "debug-on-errors",
    "description",
    "extends",
    "ned-path",
    "network",
    "output-scalar-file",
    "output-vector-file",
    "record-eventlog",
    "repeat",
    "result-dir",
    "seed-set",
    "sim-time-limit",
};

bool isKnown(const std::string &key)
{
    const bool isParameter = key.find('.') != std::string::npos;
    return isParameter ||
           std::find(std::begin(knownOptions), std::end(knownOptions), key) != std::end(knownOptions);
}

void checkKeys(const IniFile &ini, const std::map<std::string, std::string> &overrides)
{
    for (const Section &section : ini.sections())
        for (const Entry &entry : section.entries)
            if (!isKnown(entry.key))
                throw Error("Unknown configuration option: " + entry.key);
    for (const auto &[key, value] : overrides)
        if (!isKnown(key))
            throw Error("Unknown command-line configuration option --" + key);
}

std::vector<std::string> basesOf(const Section &section)
{
    std::vector<std::string> bases;
    for (const Entry &entry : section.entries) {
        if (entry.key != "extends")
            continue;
        std::string_view list = entry.value;
        while (!list.empty()) {
            const size_t comma = std::min(list.find(','), list.size());
            bases.emplace_back(trim(list.substr(0, comma)));
            list.remove_prefix(std::min(comma + 1, list.size()));
        }
    }
    return bases;
}

// Appends the section and the sections it extends, each one once.
void appendWithBases(const IniFile &ini, const std::string &name, std::vector<const Section *> &chain)
{
    const Section *section = ini.find(name);
    if (section == nullptr)
        throw Error("No such config: " + name);
    if (std::find(chain.begin(), chain.end(), section) != chain.end())
        return;
    chain.push_back(section);
    for (const std::string &base : basesOf(*section))
        appendWithBases(ini, base, chain);
}

// The section, the sections it extends, and General, which every section extends in the end.
std::vector<const Section *> sectionChain(const IniFile &ini, const std::string &name)
{
    std::vector<const Section *> chain;
    // An ini file need not have a [General], and yet has that configuration.
    if (name != "General" || ini.find(name) != nullptr)
        appendWithBases(ini, name, chain);
    if (ini.find("General") != nullptr)
        appendWithBases(ini, "General", chain);
    return chain;
}

IterationVariable repetitions(const std::string &repeat)
{
    int count = 0;
    if (!parseCount(repeat, count))
        throw Error("repeat: '" + repeat + "' is not a count");
    IterationVariable repetition{"repetition", {}};
    for (int i = 0; i < count; ++i)
        repetition.values.push_back(std::to_string(i));
    return repetition;
}

std::vector<IterationVariable> collectIterationVariables(const std::vector<const Section *> &chain)
{
    std::vector<IterationVariable> all;
    for (const Section *section : chain) {
        for (const Entry &entry : section->entries) {
            for (const IterationVariable &variable : iterationVariablesIn(entry.value)) {
                const auto isSame = [&](const auto &other) { return other.name == variable.name; };
                if (std::any_of(all.begin(), all.end(), isSame))
                    throw Error("Redefinition of iteration variable ${" + variable.name + "}");
                all.push_back(variable);
            }
        }
    }
    return all;
}

bool satisfies(const Variables &variables, const std::string &constraint)
{
    try {
        return constraint.empty() || evaluateCondition(constraint, variables);
    }
    catch (const Error &error) {
        throw Error(std::string("Cannot evaluate constraint: ") + error.what());
    }
}

}  // namespace

Configuration::Configuration(const IniFile &ini, const std::string &iniFiles, const std::string &name,
                             const std::map<std::string, std::string> &overrides)
    : name_(name), iniFiles_(iniFiles)
{
    checkKeys(ini, overrides);
    for (const auto &[key, value] : overrides)
        entries_.push_back({key, value});
    const std::vector<const Section *> chain = sectionChain(ini, name);
    for (const Section *section : chain)
        for (const Entry &entry : section->entries)
            if (entry.key != "extends")
                entries_.push_back(entry);

    std::vector<IterationVariable> iteration = collectIterationVariables(chain);
    iteration.push_back(repetitions(option("repeat", "1")));
    Variables chosen;
    enumerateRuns(iteration, chosen);

    const std::string constraint = option("constraint", "");
    const auto isExcluded = [&](const Variables &run) { return !satisfies(run, constraint); };
    runs_.erase(std::remove_if(runs_.begin(), runs_.end(), isExcluded), runs_.end());
}

std::string Configuration::option(const std::string &key, const std::string &fallback) const
{
    for (const Entry &entry : entries_)
        if (entry.key == key)
            return entry.value;
    return fallback;
}

// All combinations, with the last variable changing fastest.
void Configuration::enumerateRuns(const std::vector<IterationVariable> &iteration, Variables &chosen)
{
    if (chosen.size() == iteration.size()) {
        runs_.push_back(chosen);
        return;
    }
    const IterationVariable &next = iteration[chosen.size()];
    for (const std::string &value : next.values) {
        chosen.emplace_back(next.name, value);
        enumerateRuns(iteration, chosen);
        chosen.pop_back();
    }
}

RunConfig Configuration::run(int number) const
{
    return RunConfig(name_, iniFiles_, number, variables(number), entries_);
}

}  // namespace aloha
