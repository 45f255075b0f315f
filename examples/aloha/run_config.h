// Everything that the configuration says about one run.

#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ini_file.h"
#include "simulation.h"
#include "variables.h"

namespace aloha {

class RunConfig {
  public:
    // The entries are in order of precedence; the last of the variables is the repetition.
    RunConfig(const std::string &configName, const std::string &iniFiles, int number,
              const Variables &variables, const Entries &entries);

    const std::string &attribute(const std::string &name) const { return attributes_.at(name); }
    const std::map<std::string, std::string> &attributes() const { return attributes_; }
    const std::string &runId() const { return runId_; }

    // Without the repetition.
    const Variables &iterationVariables() const { return iterationVariables_; }

    // "$numHosts=10, $iaMean=2, $repetition=0"
    const std::string &description() const { return description_; }

    const Entries &entries() const { return entries_; }

    // The entries whose values are different in other runs.
    const Entries &varyingEntries() const { return varyingEntries_; }

    // Options: keys without a dot.
    std::string option(const std::string &key, const std::string &fallback) const;
    bool flag(const std::string &key, bool fallback) const;
    std::optional<double> seconds(const std::string &key) const;

    // The name of an output file: what the option says, or the usual name with the suffix.
    std::string resultFile(const std::string &key, const std::string &suffix) const;

    // Parameters of the model, by the full path of the parameter. Without a fallback the
    // configuration has to assign the parameter.
    std::string parameter(const std::string &path) const;
    double parameter(const std::string &path, const std::string &unit) const;
    double parameter(const std::string &path, const std::string &unit, double fallback) const;

  private:
    void setAttributes(const std::string &configName, const std::string &iniFiles, int number,
                       const std::string &repetition);

    std::map<std::string, std::string> attributes_;
    std::string runId_;
    Variables iterationVariables_;
    std::string description_;
    Entries entries_;
    Entries varyingEntries_;
};

}  // namespace aloha
