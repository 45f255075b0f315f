// One configuration of the ini files: what it inherits, and the runs that it stands for.

#pragma once

#include <map>
#include <string>
#include <vector>

#include "ini_file.h"
#include "run_config.h"
#include "variables.h"

namespace aloha {

class Configuration {
  public:
    // The overrides are the --option=value arguments; they win over every ini file entry.
    Configuration(const IniFile &ini, const std::string &iniFiles, const std::string &name,
                  const std::map<std::string, std::string> &overrides);

    const std::string &name() const { return name_; }

    // An option that is the same in all runs.
    std::string option(const std::string &key, const std::string &fallback) const;

    int runCount() const { return static_cast<int>(runs_.size()); }

    // The iteration variables of a run, and as the last one its repetition.
    const Variables &variables(int run) const { return runs_.at(run); }

    RunConfig run(int number) const;

  private:
    void enumerateRuns(const std::vector<IterationVariable> &iteration, Variables &chosen);

    const std::string name_;
    const std::string iniFiles_;
    Entries entries_;  // in order of precedence
    std::vector<Variables> runs_;
};

}  // namespace aloha
