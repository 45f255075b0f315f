#include "command_line.h"

#include "error.h"
#include "text.h"

namespace aloha {

const char *const usage =
    "Command line options, as of Cmdenv:\n"
    "  <inifile> or -f <inifile>  read this file instead of omnetpp.ini; may be repeated\n"
    "  -c <configname>            the configuration to run (default: General)\n"
    "  -r <runfilter>             the runs: 1,2,5-10 or 2..6 or a condition such as '$numHosts>10'\n"
    "  -q <what>                  only answer: numruns, runnumbers, runs, rundetails or runconfig\n"
    "  -a                         only list the configurations and how many runs each has\n"
    "  -s                         print less\n"
    "  --<option>=<value>         override an option or parameter of the ini file\n"
    "  -u Cmdenv, -n <nedpath>, -l <library>  accepted without effect\n";

namespace {

// --option=value; the last one counts if an option is given twice.
void applyOverride(const std::string &argument, CommandLine &commandLine)
{
    const size_t equals = argument.find('=');
    if (equals == std::string::npos)
        throw Error("Missing value for command-line option " + argument);
    commandLine.overrides[argument.substr(2, equals - 2)] = argument.substr(equals + 1);
}

// An option of one letter, with its value.
void applyOption(char letter, const std::string &value, CommandLine &commandLine)
{
    switch (letter) {
    case 'c':
        commandLine.configName = value;
        break;
    case 'f':
        commandLine.iniFiles.push_back(value);
        break;
    case 'q':
        commandLine.query = value;
        break;
    case 'r':
        commandLine.runFilter = value;
        break;
    case 'u':
        if (value != "Cmdenv")
            throw Error("User interface '" + value + "' is not available");
        break;
    case 'n':
    case 'l':
        break;  // there are no NED files or model libraries here
    default:
        throw Error(std::string("unknown command-line option -") + letter);
    }
}

}  // namespace

CommandLine parseCommandLine(const std::vector<std::string> &arguments)
{
    CommandLine commandLine;
    for (auto argument = arguments.begin(); argument != arguments.end(); ++argument) {
        if (*argument == "-s")
            commandLine.silent = true;
        else if (*argument == "-a")
            commandLine.listConfigs = true;
        else if (*argument == "-h")
            commandLine.help = true;
        else if (startsWith(*argument, "--"))
            applyOverride(*argument, commandLine);
        else if (!startsWith(*argument, "-"))
            commandLine.iniFiles.push_back(*argument);
        else if (argument->size() > 2)  // "-cNAME"
            applyOption((*argument)[1], argument->substr(2), commandLine);
        else if (argument + 1 == arguments.end())
            throw Error("command-line option " + *argument + " is missing required argument");
        else {
            const char letter = argument->back();
            applyOption(letter, *++argument, commandLine);
        }
    }

    if (commandLine.iniFiles.empty())
        commandLine.iniFiles.push_back("omnetpp.ini");
    return commandLine;
}

}  // namespace aloha
