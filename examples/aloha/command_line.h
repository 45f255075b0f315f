// The part of Cmdenv's command line that this program understands.

#pragma once

#include <map>
#include <string>
#include <vector>

namespace aloha {

struct CommandLine {
    std::string configName = "General";
    std::string runFilter;
    std::string query;  // empty to run simulations
    std::vector<std::string> iniFiles;
    std::map<std::string, std::string> overrides;  // from --option=value
    bool silent = false;
    bool listConfigs = false;
    bool help = false;
};

// Throws Error for what is not understood.
CommandLine parseCommandLine(const std::vector<std::string> &arguments);

extern const char *const usage;

}  // namespace aloha
