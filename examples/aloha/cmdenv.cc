#include "cmdenv.h"

#include <iostream>

#include "command_line.h"
#include "configuration.h"
#include "error.h"
#include "query.h"
#include "run.h"
#include "run_filter.h"

namespace aloha {

namespace {

struct Statistics {
    int successful = 0;
    int errors = 0;
    int skipped = 0;
    bool interrupted = false;
};

IniFile readIniFiles(const CommandLine &commandLine)
{
    IniFile ini;
    for (const std::string &fileName : commandLine.iniFiles)
        ini.read(fileName);
    return ini;
}

Configuration selectConfiguration(const IniFile &ini, const std::string &name, const CommandLine &commandLine)
{
    std::string fileNames;
    for (const std::string &fileName : commandLine.iniFiles)
        fileNames += (fileNames.empty() ? "" : " ") + fileName;
    return Configuration(ini, fileNames, name, commandLine.overrides);
}

int listConfigurations(const IniFile &ini, const CommandLine &commandLine)
{
    for (const Section &section : ini.sections())
        std::cout << "Config " << section.name << ": "
                  << selectConfiguration(ini, section.name, commandLine).runCount() << '\n';
    return 0;
}

// An interrupted run counts as successful, as it does with Cmdenv: it has all its result files.
Statistics executeRuns(const Configuration &configuration, const std::vector<int> &numbers, bool silent)
{
    const bool stopOnError = configuration.option("cmdenv-stop-batch-on-error", "true") == "true";
    const int total = static_cast<int>(numbers.size());
    Statistics statistics;
    for (int i = 0; i < total; ++i) {
        const Outcome outcome = executeRun(configuration, numbers[i], {i, total}, silent);
        ++(outcome == Outcome::Failed ? statistics.errors : statistics.successful);
        statistics.interrupted = outcome == Outcome::Interrupted;
        if (statistics.interrupted || (outcome == Outcome::Failed && stopOnError)) {
            statistics.skipped = total - i - 1;
            break;
        }
    }
    return statistics;
}

void printStatistics(const Statistics &statistics)
{
    const auto [successful, errors, skipped, interrupted] = statistics;
    std::cout << "\nRun statistics: total " << successful + errors + skipped;
    if (successful > 0)
        std::cout << ", successful " << successful;
    if (errors > 0)
        std::cout << ", errors " << errors;
    if (skipped > 0)
        std::cout << ", skipped " << skipped;
    std::cout << '\n';
}

int runBatch(const Configuration &configuration, const std::vector<int> &numbers, bool silent)
{
    catchSignals();
    const Statistics statistics = executeRuns(configuration, numbers, silent);
    if (numbers.size() > 1)
        printStatistics(statistics);
    if (statistics.interrupted)
        return 2;
    return statistics.errors > 0 ? 1 : 0;
}

int obey(const CommandLine &commandLine)
{
    const IniFile ini = readIniFiles(commandLine);
    if (commandLine.listConfigs)
        return listConfigurations(ini, commandLine);
    const Configuration configuration = selectConfiguration(ini, commandLine.configName, commandLine);
    const std::vector<int> selected = selectRuns(commandLine.runFilter, configuration);
    if (commandLine.query.empty())
        return runBatch(configuration, selected, commandLine.silent);
    answerQuery(commandLine.query, configuration, selected, commandLine.silent);
    return 0;
}

}  // namespace

int runCmdenv(const std::vector<std::string> &arguments)
{
    bool silent = true;
    int status = 1;
    try {
        const CommandLine commandLine = parseCommandLine(arguments);
        silent = commandLine.silent;
        if (!silent)
            std::cout << "ALOHA example, a stand-in for an OMNeT++ program with Cmdenv\n";
        if (commandLine.help)
            std::cout << usage;
        status = commandLine.help ? 0 : obey(commandLine);
    }
    catch (const Error &error) {
        std::cout << std::flush;
        std::cerr << "\n<!> Error: " << error.what() << std::endl;
    }
    if (!silent)
        std::cout << "\nEnd." << std::endl;
    return status;
}

}  // namespace aloha
